"""The servers and locations of nginx's configuration, one function a piece."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from moorage.edge.model import Facts, Options


@dataclass(frozen=True)
class Target:
    """A path and the pool of a stack that answers it."""

    path: str
    pool: str
    facts: Facts


@dataclass(frozen=True)
class _Twins:
    """Names of the locations that do the same for one path, but for one thing."""

    stream: str
    closing: str
    small: str


def upstream(facts: Facts) -> str:
    """The stack's upstream: its peers are chosen in edge.lua, so that none stands here."""
    seconds = facts.options.upstream_keepalive_seconds
    keep = ""
    if seconds:
        # Shorter than the application's own limit: a request that must not be sent twice never
        # meets a connection that the application closes at that moment.
        keep = f"    keepalive 64;\n    keepalive_timeout {_time(seconds)};\n"
    return (
        f"upstream moorage_{facts.stack} {{\n"
        "    server 0.0.0.1;\n"
        '    balancer_by_lua_block { require("edge").balance() }\n'
        f"{keep}}}\n"
        f"map $upstream_http_x_frame_options $moorage_frame_{_word(facts.stack)} {{\n"
        f'    "" "{facts.options.frame_options}";\n    default "";\n}}\n'
        f"{_static_map(facts, 'static', 'public')}{_static_map(facts, 'own', 'private')}"
    )


def _static_map(facts: Facts, name: str, who: str) -> str:
    """What is said of a static file to who may keep it, where the application says nothing."""
    said = f"{who}, max-age={facts.options.static_max_age_seconds}"
    said += ", immutable" if facts.options.static_immutable else ""
    return (
        'map "$status:$upstream_http_cache_control$upstream_http_expires$upstream_http_pragma'
        '$upstream_http_set_cookie"'
        f' $moorage_{name}_{_word(facts.stack)} {{\n    "~^20[06]:\\z" "{said}";\n'
        '    default "";\n}\n'
    )


def server(head: str, targets: Sequence[Target], *, tls: bool, more: str = "") -> str:
    """A server that passes requests to the pools of ``targets``."""
    places = _places(targets)
    # Which paths are told apart here: edge.lua lets nobody be taken for another one (`settled`).
    body = [f'    set $moorage_places "{" ".join(sorted(places))}";\n', more]
    for number, target in enumerate(sorted(targets, key=lambda entry: entry.path)):
        kinds = ("stream", "closing", "small")
        twins = _Twins(*(f"@moorage_{kind}_{number}" for kind in kinds))
        body += [_location(match, target, twins, tls) for match in _matches(target.path, places)]
        for path in target.facts.options.private_paths:
            if _owner(path, targets) == target and path != target.path:
                body += [_private(match, target, twins, tls) for match in _matches(path, places)]
        for index, path in enumerate(_static_paths(target, targets)):
            closing = f"{twins.closing}_{index}"
            plain = f"@moorage_plain_{number}_{index}"
            body.append(_static(f"^~ {path}", closing, plain, target, tls, twins.small))
            body.append(_static(closing, "", plain, target, tls, twins.small))
            # Who is known by a cookie may keep it as well, and nobody for others.
            own = f"add_header Cache-Control $moorage_own_{_word(target.facts.stack)};"
            body.append(_twin(plain, own, target, tls, twins.closing))
            # nginx would answer it with a redirection of its own.
            exact = path.rstrip("/")
            if path.endswith("/") and exact and exact not in {t.path.rstrip("/") for t in targets}:
                body.append(_location(f"= {exact}", target, twins, tls))
        # Who asks for events gets each byte as it comes; before a reload connections are ended.
        body.append(_twin(twins.stream, _STREAM, target, tls))
        body.append(_twin(twins.closing, "keepalive_timeout 0;", target, tls))
        body.append(_twin(twins.small, _SMALL, target, tls))
    body.append(_FAILED)
    return f"server {{\n{head}{_COMMON}{''.join(body)}}}\n"


def to_https(https_port: int) -> str:
    """Send to https who has not come by it, to this host or to a proxy that is believed."""
    port = "" if https_port == 443 else f":{https_port}"
    return (
        f"    set $moorage_insecure $moorage_scheme$uri;\n"
        # The rewrite phase comes before the location: what an ACME server asks for stays here.
        '    if ($moorage_insecure ~ "^http/(?!\\.well-known/acme-challenge/)") {\n'
        f"        return 308 https://$host{port}$request_uri;\n    }}\n"
    )


def nobody(head: str, status: int) -> str:
    """The server of names that nobody has here; it gives no name away."""
    return f"server {{\n{head}{_COMMON}    return {status};\n}}\n"


def challenge(webroot: str) -> str:
    """Where an ACME server looks for its answer."""
    return (
        "    location ^~ /.well-known/acme-challenge/ {\n"
        f"        root {webroot};\n        default_type text/plain;\n    }}\n"
    )


_COMMON = """\
    set $moorage_tries 0;
    set $moorage_body "";
    set $moorage_small "";
    log_by_lua_block { require("edge").log() }
"""

_STREAM = "proxy_buffering off;\n        gzip off;"

# As far as SMALL_BODY of edge.lua, which has found no room for a larger one.
_SMALL_BYTES = 131072
_SMALL = "error_page 413 = @moorage_full;"

_FAILED = """\
    location @moorage_full {
        internal;
        add_header X-Request-Id $request_id always;
        content_by_lua_block { require("edge").full() }
    }
    location @moorage_unknown {
        internal;
        return 404;
    }
    location @moorage_lost {
        internal;
        add_header X-Request-Id $request_id always;
        content_by_lua_block { require("edge").lost() }
    }
    location @moorage_failed {
        internal;
        add_header X-Request-Id $request_id always;
        content_by_lua_block { require("edge").failed() }
    }
"""


def _matches(path: str, others: Collection[str]) -> list[str]:
    if path == "/":
        return ["^~ /"]
    if path.endswith("/"):
        # nginx would answer /api with a redirection of its own to /api/.
        exact = path.rstrip("/")
        return [f"^~ {path}"] + ([f"= {exact}"] if exact and exact not in others else [])
    # /api is /api and what lies below it, not /apiary.
    return [f"= {path}", f"^~ {path}/"]


def _places(targets: Iterable[Target]) -> set[str]:
    """Every path that has a location of its own."""
    found = set()
    for target in targets:
        options = target.facts.options
        found |= {target.path, *options.static_paths, *options.private_paths}
    return found


def _below(path: str, parents: Iterable[str]) -> bool:
    return any(f"{path}/".startswith(parent.rstrip("/") + "/") for parent in parents)


def _owner(path: str, targets: Iterable[Target]) -> Target | None:
    fitting = [
        target
        for target in targets
        if path == target.path or path.startswith(target.path.rstrip("/") + "/")
    ]
    return max(fitting, key=lambda target: len(target.path), default=None)


def _private(match: str, target: Target, twins: _Twins, tls: bool) -> str:
    """What is for the host itself and named networks; others learn nothing of it."""
    allowed = ["127.0.0.0/8", "::1", *target.facts.options.private_networks]
    rules = "".join(f"        allow {network};\n" for network in allowed)
    rules += "        deny all;\n        error_page 403 =404 @moorage_unknown;\n"
    return _location(match, target, twins, tls).replace("{\n", "{\n" + rules, 1)


def _location(match: str, target: Target, twins: _Twins, tls: bool) -> str:
    return (
        f'    location {match} {{\n        set $moorage_plain "";\n'
        f"        set $moorage_stream {twins.stream};\n"
        f"        set $moorage_closing {twins.closing};\n"
        f"        set $moorage_again {twins.closing};\n"
        f"        set $moorage_small {twins.small};\n"
        f"{_start(target)}{_pass(target)}{_headers(target, tls)}    }}\n"
    )


def _static_paths(target: Target, targets: Sequence[Target]) -> list[str]:
    options = target.facts.options
    if not options.static_max_age_seconds:
        return []
    return [
        path
        for path in dict.fromkeys(options.static_paths)
        # A location for files would take them out of the one that keeps strangers out.
        if _owner(path, targets) == target and not _below(path, options.private_paths)
    ]


def _static(match: str, closing: str, plain: str, target: Target, tls: bool, small: str) -> str:
    word = _word(target.facts.stack)
    cache = (
        "        proxy_cache moorage_static;\n"
        # As it is passed on; the setting is another one after every switch, so that nothing of an
        # older release is served.
        '        proxy_cache_key "$moorage_pool $moorage_setting $moorage_scheme $moorage_host '
        '$request_uri";\n'
        f"        proxy_cache_valid 200 {target.facts.options.static_max_age_seconds}s;\n"
        "        proxy_cache_lock on;\n        proxy_cache_lock_timeout 2s;\n"
        "        proxy_no_cache $moorage_uncacheable $moorage_large $moorage_error;\n"
        f"        add_header Cache-Control $moorage_static_{word};\n"
    )
    head = _start(target) if closing else "        keepalive_timeout 0;\n"
    return (
        f"    location {match} {{\n"
        f'        set $moorage_plain {plain};\n        set $moorage_stream "";\n'
        f'        set $moorage_closing "{closing}";\n'
        f"        set $moorage_again {closing or match};\n"
        f"        set $moorage_small {small};\n"
        f"{head}{_pass(target)}{cache}{_headers(target, tls)}    }}\n"
    )


def _twin(name: str, difference: str, target: Target, tls: bool, closing: str = "") -> str:
    # Reached by edge.lua alone, from the location that has said which pool is meant.
    options = target.facts.options_of(target.pool)
    if difference == _STREAM:
        options = replace(options, read_timeout_seconds=options.stream_timeout_seconds)
    if difference == _SMALL:
        largest = min(options.max_body_bytes or _SMALL_BYTES, _SMALL_BYTES)
        options = replace(options, max_body_bytes=largest)
    return (
        f'    location {name} {{\n        set $moorage_plain "";\n'
        '        set $moorage_stream "";\n'
        f'        set $moorage_closing "{closing}";\n        set $moorage_again {name};\n'
        f"        {difference}\n"
        f"{_pass(target, options)}{_headers(target, tls)}    }}\n"
    )


def _start(target: Target) -> str:
    return (
        f"        set $moorage_stack {target.facts.stack};\n"
        f'        set $moorage_pool "{target.facts.stack}/{target.pool}";\n'
        '        set $moorage_peer "";\n        set $moorage_setting "";\n'
    )


def _pass(target: Target, options: Options | None = None) -> str:
    options = options or target.facts.options_of(target.pool)
    seconds = _time(options.read_timeout_seconds)
    return (
        f"        client_max_body_size {options.max_body_bytes};\n"
        f"        proxy_read_timeout {seconds};\n        proxy_send_timeout {seconds};\n"
        '        access_by_lua_block { require("edge").access() }\n'
        f"        proxy_pass http://moorage_{target.facts.stack};\n"
        "        include proxy.conf;\n"
    )


def _headers(target: Target, tls: bool) -> str:
    word = _word(target.facts.stack)
    found = (
        f"        add_header X-Frame-Options $moorage_frame_{word} always;\n"
        "        add_header X-Content-Type-Options $moorage_nosniff always;\n"
        "        add_header Referrer-Policy $moorage_referrer always;\n"
        "        add_header X-Request-Id $request_id always;\n"
    )
    if tls and target.facts.options.hsts_seconds:
        value = f'"max-age={target.facts.options.hsts_seconds}"'
        found += f"        add_header Strict-Transport-Security {value} always;\n"
    return found


def _word(stack: str) -> str:
    # Names of variables have no hyphen; doubling the underscore keeps two stacks apart.
    return stack.replace("_", "__").replace("-", "_")


def _time(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
