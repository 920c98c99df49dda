"""From settings and facts to nginx's files: pure, and the same for the same input."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorage.edge import locations
from moorage.edge.model import Facts, Settings
from moorage.edge.snippets import HTTP, MAIN, PROXY, TLS

_HERE = Path(__file__).parent
# A visitor that is gone without a word is noticed in two minutes, however long he may be silent.
_FIRST = " default_server so_keepalive=60s:15s:4"
_SHIPPED = ("edge.lua", "maintenance.html")


@dataclass(frozen=True)
class Site:
    """What of the host the files depend on."""

    base: str
    run: str
    # Whether the kernel has IPv6: nginx does not start with an address that it cannot bind.
    ipv6: bool
    # Domain -> certificate and key, as nginx reads them; "" is that of the default server.
    certificates: Mapping[str, tuple[str, str]]


def render(settings: Settings, stacks: Iterable[Facts], site: Site) -> dict[str, str]:
    """Return every file of the configuration by its name; `generation` hashes all of them."""
    facts = sorted(stacks, key=lambda entry: entry.stack)
    servers = "\n".join([*_listeners(facts, site), *_domains(settings, facts, site)])
    upstreams = "\n".join(locations.upstream(entry) for entry in facts)
    files = {
        "nginx.conf": MAIN % _main_values(settings, site),
        "http.conf": HTTP % _http_values(settings, site),
        "proxy.conf": PROXY,
        "tls.conf": TLS,
        "stacks.conf": f"{upstreams}\n{servers}",
        **{name: (_HERE / name).read_text(encoding="utf-8") for name in _SHIPPED},
    }
    state = {
        "stacks": {entry.stack: list(entry.pools) for entry in facts},
        "health": {f"{e.stack}/{pool}": path for e in facts for pool, path in e.health.items()},
        "pools": f"{site.base}/pools",
        "waiters": settings.hold_waiters,
        "bodies": _bodies(settings, facts),
    }
    hashed = json.dumps([files, state], sort_keys=True)
    state["generation"] = hashlib.sha256(hashed.encode()).hexdigest()[:12]
    files["edge.json"] = json.dumps(state, indent=1, sort_keys=True) + "\n"
    return files


def generation(files: Mapping[str, str]) -> str:
    """Return the name of what ``render`` made: twelve hex digits."""
    return str(json.loads(files["edge.json"])["generation"])


def _bodies(settings: Settings, facts: Iterable[Facts]) -> dict[str, Any]:
    """How many bytes of requests' bodies are kept at a time, by all and by each pool."""
    host = settings.bodies_mb * 2**20
    pools = {}
    for entry in facts:
        for pool in entry.pools:
            options = entry.options_of(pool)
            one = options.max_body_bytes
            # Half, so that a service that is beset leaves the other ones as much.
            own = options.max_bodies_bytes or max(host // 2, 2 * one)
            limit = {"all": min(host, own), "rate": options.min_body_rate_bytes}
            pools[f"{entry.stack}/{pool}"] = limit | ({"one": one} if one else {})
    return {"host": host, "pools": pools, "seconds": settings.body_grace_seconds}


def _main_values(settings: Settings, site: Site) -> dict[str, Any]:
    return {
        "run": site.run,
        "log": settings.log_dir,
        "workers": settings.worker_processes,
        "shutdown": settings.shutdown_seconds,
    }


def _http_values(settings: Settings, site: Site) -> dict[str, Any]:
    trusted = [f"set_real_ip_from {network};" for network in settings.trusted_proxies]
    geo = "".join(f" {network} 1;" for network in settings.trusted_proxies)
    if trusted:
        trusted += ["real_ip_header X-Forwarded-For;", "real_ip_recursive on;"]
    log = "access_log off;"
    if settings.access_log_enabled:
        log = f"access_log {settings.log_dir}/access.json moorage buffer=64k flush=1s;"
    return {
        "base": site.base,
        "run": site.run,
        "cache": settings.cache_dir,
        "cache_mb": settings.static_cache_mb,
        "path": "$request_uri" if settings.access_log_query_enabled else "$uri",
        "access_log": log,
        "trusted": "\n    ".join(trusted),
        "geo": geo,
        "connections": settings.connections_per_address,
        "grace": settings.body_grace_seconds,
    }


def _listen(port: int, address: str, site: Site, extra: str = "") -> str:
    if address:
        where = f"[{address}]" if ":" in address else address
        return f"    listen {where}:{port}{extra};\n"
    both = f"    listen {port}{extra};\n"
    return both + (f"    listen [::]:{port}{extra};\n" if site.ipv6 else "")


def _listeners(facts: Iterable[Facts], site: Site) -> list[str]:
    return [
        locations.server(
            _listen(listener.port, listener.address, site, _FIRST),
            [locations.Target("/", listener.pool, entry)],
            tls=False,
        )
        for entry in facts
        for listener in sorted(entry.listeners, key=lambda found: (found.port, found.address))
    ]


def _domains(settings: Settings, facts: Iterable[Facts], site: Site) -> list[str]:
    served: dict[str, list[locations.Target]] = {}
    for entry in facts:
        for domain in entry.domains:
            targets = served.setdefault(domain, [])
            targets += [locations.Target(route.path, route.pool, entry) for route in entry.routes]
    if not served:
        return []
    secure = settings.tls != "off"
    plain = _listen(settings.http_port, "", site)
    found = [locations.nobody(_listen(settings.http_port, "", site, _FIRST), 404)]
    if secure:
        first = _listen(settings.https_port, "", site, f" ssl{_FIRST}")
        found.append(locations.nobody(first + _certificate(site, ""), 421))
    for domain, targets in sorted(served.items()):
        name = f"    server_name {domain};\n"
        challenge = locations.challenge(f"{site.base}/acme/webroot")
        if not secure:
            found.append(locations.server(plain + name, targets, tls=False, more=challenge))
            continue
        if settings.redirect_to_https:
            first = locations.to_https(settings.https_port) + challenge
            found.append(locations.server(plain + name, targets, tls=True, more=first))
            # A rollout's requests for the application itself: the others learn of https alone.
            inside = _listen(settings.probe_port, "127.0.0.1", site)
            found.append(locations.server(inside + name, targets, tls=True))
        else:
            found.append(locations.server(plain + name, targets, tls=False, more=challenge))
        ssl = _listen(settings.https_port, "", site, " ssl")
        ssl += name + _certificate(site, domain)
        found.append(locations.server(ssl, targets, tls=True, more=challenge))
    return found


def _certificate(site: Site, domain: str) -> str:
    certificate, key = site.certificates[domain]
    return (
        "    http2 on;\n    include tls.conf;\n"
        f"    ssl_certificate {certificate};\n    ssl_certificate_key {key};\n"
    )
