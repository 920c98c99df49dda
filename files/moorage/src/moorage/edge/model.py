"""What the edge is told: the host's settings and each stack's facts, read strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_address, ip_network
from typing import Any

from moorage.edge.errors import EdgeError

KINDS = ("container", "native", "none")
TLS_MODES = ("off", "selfsigned", "files", "acme")
_POOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*\Z")
_STACK = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9-]{1,63}\Z")
# What nginx takes as it stands inside a location: no quotes, spaces, braces, variables.
_PATH = re.compile(r"/[A-Za-z0-9._~!@+,:=/-]*\Z")


@dataclass(frozen=True)
class Settings:
    """Settings of the host's edge; the role `edge` documents them."""

    kind: str = "container"
    image: str = ""
    tls: str = "off"
    http_port: int = 80
    https_port: int = 443
    probe_port: int = 19980
    redirect_to_https: bool = True
    certificates: tuple[dict[str, Any], ...] = ()
    acme_directory: str = ""
    acme_contact: str = ""
    acme_ca_bundle: str = ""
    trusted_proxies: tuple[str, ...] = ()
    access_log_enabled: bool = True
    access_log_query_enabled: bool = False
    connections_per_address: int = 512
    hold_waiters: int = 1000
    bodies_mb: int = 1024
    body_grace_seconds: int = 30
    worker_processes: str = "auto"
    shutdown_seconds: int = 3600
    static_cache_mb: int = 128
    log_dir: str = "/var/log/moorage/edge"
    cache_dir: str = "/var/cache/moorage/edge"
    container: str = "moorage-edge"

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Settings:
        """Read settings.json; raises EdgeError that names the setting and the value."""
        known = {entry.name: entry for entry in fields(cls)}
        for name in raw:
            if name not in known:
                raise EdgeError(f"edge_{name}: there is no such setting of the edge")
        values: dict[str, Any] = {}
        for name, value in raw.items():
            values[name] = tuple(value) if isinstance(known[name].default, tuple) else value
        found = cls(**values)
        _expect(found.kind in KINDS, "edge_kind", found.kind, f"one of {', '.join(KINDS)}")
        _expect(found.tls in TLS_MODES, "edge_tls", found.tls, f"one of {', '.join(TLS_MODES)}")
        for name in ("http_port", "https_port", "probe_port"):
            _port(f"edge_{name}", getattr(found, name))
        for name, most in (("bodies_mb", 2**20), ("body_grace_seconds", 3600)):
            value = getattr(found, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            _expect(whole and 1 <= value <= most, f"edge_{name}", value, f"from 1 to {most}")
        for network in found.trusted_proxies:
            try:
                ip_network(network, strict=False)
            except ValueError:
                _expect(False, "edge_trusted_proxies", network, "an address or a network in CIDR")
        return found


@dataclass(frozen=True)
class Listener:
    """A public port that belongs to one pool as a whole."""

    port: int
    address: str
    pool: str


@dataclass(frozen=True)
class Route:
    """A path of the stack's domains that one pool answers."""

    path: str
    pool: str


_BY_SERVICE = frozenset(
    {
        "max_body_bytes",
        "max_bodies_bytes",
        "min_body_rate_bytes",
        "read_timeout_seconds",
        "stream_timeout_seconds",
    }
)


@dataclass(frozen=True)
class Options:
    """How requests of a stack are passed on; sizes in bytes, times in seconds."""

    max_body_bytes: int = 64 * 2**20
    read_timeout_seconds: float = 60
    static_paths: tuple[str, ...] = ()
    static_max_age_seconds: int = 3600
    frame_options: str = "SAMEORIGIN"
    hsts_seconds: int = 0
    hold_seconds: float = 10
    upstream_keepalive_seconds: float = 1
    private_paths: tuple[str, ...] = ()
    private_networks: tuple[str, ...] = ()
    # How long both ends of a WebSocket or of a stream of events may be silent.
    stream_timeout_seconds: float = 3600
    # Of all bodies of one service that are kept at a time; 0: a share of the host's.
    max_bodies_bytes: int = 0
    # A body that comes more slowly for half a minute is refused; 0: none is.
    min_body_rate_bytes: int = 1024
    # What differs for a service: options of _BY_SERVICE.
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def parse(cls, stack: str, raw: Mapping[str, Any]) -> Options:
        """Read the options of ``stack``; raises EdgeError for what cannot be used."""
        found = cls._parse(f"{stack}: edge options", raw)
        for name, own in found.services.items():
            where = f"{stack}: edge options: services: {name}"
            unknown = sorted(set(own) - _BY_SERVICE)
            _expect(not unknown, where, unknown, f"only {', '.join(sorted(_BY_SERVICE))}")
            cls._parse(where, own)
        return found

    def of(self, service: str) -> Options:
        """Return what holds for a service."""
        return replace(self, **self.services.get(service, {}))

    @classmethod
    def _parse(cls, where: str, raw: Mapping[str, Any]) -> Options:
        known = {entry.name: entry for entry in fields(cls)}
        unknown = sorted(set(raw) - set(known))
        _expect(not unknown, where, unknown, f"only {', '.join(known)}")
        given = dict(raw)
        for name in ("static_paths", "private_paths", "private_networks"):
            if name in given:
                given[name] = tuple(given[name])
        found = cls(**given)
        for path in found.static_paths:
            _expect(_is_path(path), f"{where}: static_paths", path, "a path such as /static/")
        for path in found.private_paths:
            _expect(_is_path(path), f"{where}: private_paths", path, "a path such as /metrics")
        for network in found.private_networks:
            try:
                ip_network(network, strict=False)
            except ValueError:
                _expect(False, f"{where}: private_networks", network, "an address or a network")
        choices = ("", "SAMEORIGIN", "DENY")
        _expect(found.frame_options in choices, where, found.frame_options, f"one of {choices}")
        for name, entry in known.items():
            value = getattr(found, name)
            if isinstance(entry.default, int | float):
                number = isinstance(value, int | float) and not isinstance(value, bool)
                _expect(number and value >= 0, f"{where}: {name}", value, "a number, 0 or more")
        return found


@dataclass(frozen=True)
class Facts:
    """What one stack wants of the edge (`edge` of its release manifest)."""

    stack: str
    pools: tuple[str, ...] = ()
    listeners: tuple[Listener, ...] = ()
    domains: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    options: Options = field(default_factory=Options)

    @classmethod
    def parse(cls, stack: str, raw: Mapping[str, Any]) -> Facts:
        """Read the facts of ``stack``; raises EdgeError for what cannot be used."""
        _expect(bool(_STACK.match(stack)), "stack", stack, "lower-case letters, digits, - and _")
        pools = tuple(sorted(raw.get("pools") or {}))
        for pool in pools:
            _expect(bool(_POOL.match(pool)), f"{stack}: pool", pool, "a name such as web:5000")
        listeners = tuple(
            Listener(int(entry["port"]), str(entry.get("address") or ""), str(entry["pool"]))
            for entry in raw.get("listeners") or ()
        )
        routes = tuple(
            Route(str(entry["path"]), str(entry["pool"])) for entry in raw.get("routes") or ()
        )
        domains = tuple(str(name).lower() for name in raw.get("domains") or ())
        found = cls(
            stack, pools, listeners, domains, routes, Options.parse(stack, raw.get("options") or {})
        )
        found._check()
        return found

    def options_of(self, pool: str) -> Options:
        """Return the options of a pool, whose name is that of its service and a port."""
        return self.options.of(pool.rpartition(":")[0])

    def _check(self) -> None:
        for listener in self.listeners:
            _port(f"{self.stack}: listener", listener.port)
            if listener.address:
                _address(f"{self.stack}: listener {listener.port}", listener.address)
        known = ", ".join(self.pools) or "none"
        used = [*(entry.pool for entry in self.listeners), *(entry.pool for entry in self.routes)]
        for pool in used:
            _expect(pool in self.pools, f"{self.stack}: pool", pool, f"one of the pools ({known})")
        for route in self.routes:
            _expect(_is_path(route.path), f"{self.stack}: route", route.path, "a path such as /api")
        for domain in self.domains:
            ok = bool(_DOMAIN.match(domain))
            _expect(ok, f"{self.stack}: domain", domain, "a host name such as www.example.com")


def _is_path(path: object) -> bool:
    return isinstance(path, str) and bool(_PATH.match(path))


def _expect(condition: bool, where: str, value: object, wanted: str) -> None:
    if not condition:
        raise EdgeError(f"{where}: {value!r} cannot be used; it has to be {wanted}")


def _port(where: str, value: object) -> None:
    valid = isinstance(value, int) and 0 < value < 65536
    _expect(valid, where, value, "a port from 1 to 65535")


def _address(where: str, value: str) -> None:
    try:
        ip_address(value)
    except ValueError:
        _expect(False, where, value, "an address of this host")
