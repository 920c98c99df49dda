"""What the edge is told: the host's settings and each stack's facts, read strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from moorage.edge.errors import EdgeError, refused
from moorage.release.manifest import Listener, Route
from moorage.settings.edge import Options, Settings
from moorage.settings.readers import ROUTE_PATH, Unusable
from moorage.settings.table import parse

__all__ = ["Facts", "Listener", "Options", "Route", "Settings", "host_settings"]

_POOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*\Z")
_STACK = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")
# As it is sent: nothing that could end the line of a request.
_PATH = re.compile(r"/[!-~]*\Z")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9-]{1,63}\Z")


def host_settings(raw: Mapping[str, Any]) -> Settings:
    """Read settings.json; raises EdgeError that names each setting and its value."""
    try:
        return parse(Settings, raw, "setting of the edge")
    except Unusable as error:
        raise refused("edge_", error) from None


def _options(stack: str, raw: Mapping[str, Any]) -> Options:
    try:
        return parse(Options, raw)
    except Unusable as error:
        raise refused(f"{stack}: edge options: ", error) from None


@dataclass(frozen=True)
class Facts:
    """What one stack wants of the edge (`edge` of its release manifest).

    ``health`` has by pool the path at which its peers say whether they are well.
    """

    stack: str
    pools: tuple[str, ...] = ()
    listeners: tuple[Listener, ...] = ()
    domains: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    options: Options = field(default_factory=Options)
    health: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, stack: str, raw: Mapping[str, Any]) -> Facts:
        """Read the facts of ``stack``; raises EdgeError for what cannot be used."""
        _expect(bool(_STACK.match(stack)), "stack", stack, "lower-case letters, digits, - and _")
        described = raw.get("pools") or {}
        pools = tuple(sorted(described))
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
        paths = {
            name: (entry or {}).get("health") for name, entry in (raw.get("pools") or {}).items()
        }
        health = {name: str(path) for name, path in paths.items() if path}
        options = _options(stack, raw.get("options") or {})
        found = cls(stack, pools, listeners, domains, routes, options, health)
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
            try:
                ROUTE_PATH(route.path)
            except Unusable as error:
                raise refused(f"{self.stack}: route", error) from None
        for pool, path in self.health.items():
            ok = bool(_PATH.match(path))
            _expect(ok, f"{self.stack}: health of {pool}", path, "a path such as /health")
        for domain in self.domains:
            ok = bool(_DOMAIN.match(domain))
            _expect(ok, f"{self.stack}: domain", domain, "a host name such as www.example.com")


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
