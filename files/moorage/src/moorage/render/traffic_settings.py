"""What an operator says about a stack's visitors: domains, routes, the edge, the prober."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moorage.compose.extension import Route
from moorage.compose.units import parse_bytes
from moorage.render.values import (
    Reader,
    list_of,
    matching,
    number,
    one_of,
    record,
    url_path,
    whole,
)

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = matching(rf"{_LABEL}(\.{_LABEL})*", "a name such as www.example.com, in small letters")
_SERVICE = matching(r"[a-zA-Z0-9._-]+", "the name of a service")
_ROUTE_PATH = matching(r"/[A-Za-z0-9._~+,=:@%/-]*", "a path such as /pictures/")


@dataclass(frozen=True)
class EdgeOptions:
    """How the edge treats a stack's visitors.

    `max_body_bytes`: of one request; 0 sets no limit. `read_timeout_seconds`: how long a service
    may be silent. `static_paths`: what is cached, by visitors too, for `static_max_age_seconds`.
    `frame_options`: of X-Frame-Options; "" sends none. `hsts_seconds`: 0 sends no such header.
    `hold_seconds`: how long a visitor waits in the edge for a service that is being replaced.
    `upstream_keepalive_seconds`: idle connections to a service are closed after it; it has to be
    shorter than what the service itself keeps them for. `private_paths` are for the host itself
    and `private_networks` alone; others get 404. `stream_timeout_seconds`: how long both ends of a
    WebSocket or a stream of events may be silent. `max_bodies_bytes`: of all bodies of one service
    at a time; 0: the edge's own share. `min_body_rate_bytes`: a second; slower ones are refused.
    `services`: what differs for a service.
    """

    max_body_bytes: int = 67108864
    read_timeout_seconds: float = 60.0
    static_paths: tuple[str, ...] = ()
    static_max_age_seconds: int = 3600
    frame_options: str = "SAMEORIGIN"
    hsts_seconds: int = 0
    hold_seconds: float = 10.0
    upstream_keepalive_seconds: float = 1.0
    private_paths: tuple[str, ...] = ()
    private_networks: tuple[str, ...] = ()
    stream_timeout_seconds: float = 3600.0
    max_bodies_bytes: int = 0
    min_body_rate_bytes: int = 1024
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """What the prober asks for; `port` is the container's, None the only one it can be.

    `expect`: the first and the last status code that is well.
    """

    service: str
    path: str
    port: int | None = None
    expect: tuple[int, int] = (200, 399)


@dataclass(frozen=True)
class ProbeOptions:
    """How a rollout is watched; `rate` in requests a second over all targets.

    `budget`: failed requests that are put up with. More, or a 99th percentile of more than
    `p99_factor` times that of before (and of more than `p99_floor_seconds`), puts the previous
    release back. `before_seconds`: how long "before" is measured. `targets` None: by the
    description.
    """

    rate: float = 50.0
    timeout_seconds: float = 2.0
    method: str = "GET"
    budget: int = 0
    p99_factor: float = 5.0
    p99_floor_seconds: float = 1.0
    before_seconds: float = 0.4
    targets: tuple[Target, ...] | None = None


def _bytes(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError("must be a size such as 64m")
    try:
        found = parse_bytes(value)
    except ValueError:
        found = -1
    if not 0 <= found < 2**63:
        raise ValueError("must be a size such as 64m")
    return found


def _status(value: Any) -> tuple[int, int]:
    if isinstance(value, (list, tuple)):
        first, last = list_of(whole(100, 599))(value) if len(value) == 2 else (1, 0)
    else:
        first = last = whole(100, 599)(value)
    if first > last:
        raise ValueError("must be a status code, or the first and the last one: [200, 399]")
    return first, last


_BY_SERVICE: dict[str, Reader] = {
    "max_body_bytes": _bytes,
    "max_bodies_bytes": _bytes,
    "min_body_rate_bytes": _bytes,
    "read_timeout_seconds": number(0.001),
    "stream_timeout_seconds": number(0.001),
}


def _services(value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping by the names of services")
    found = {}
    for name, own in value.items():
        try:
            found[_SERVICE(name)] = record(_BY_SERVICE)(own)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found


_EDGE = record(
    {
        **_BY_SERVICE,
        "services": _services,
        "static_paths": list_of(_ROUTE_PATH),
        "static_max_age_seconds": whole(),
        "frame_options": one_of("SAMEORIGIN", "DENY", ""),
        "hsts_seconds": whole(),
        "hold_seconds": number(),
        "upstream_keepalive_seconds": number(0.001),
        "private_paths": list_of(_ROUTE_PATH),
        "private_networks": list_of(matching(r"[0-9A-Fa-f.:]+(/\d+)?", "an address or a network")),
    }
)
_PORT = whole(1, 65535)
_TARGET = record(
    {"service": _SERVICE, "path": url_path, "port": _PORT, "expect": _status},
    ("service", "path"),
)
_PROBE = record(
    {
        "rate": number(0.1, 10_000),
        "timeout_seconds": number(0.01),
        "method": one_of("GET", "HEAD", "OPTIONS"),
        "budget": whole(),
        "p99_factor": number(1),
        "p99_floor_seconds": number(),
        "before_seconds": number(),
        "targets": list_of(_TARGET),
    }
)
_ROUTE = record({"path": _ROUTE_PATH, "service": _SERVICE, "port": _PORT}, ("path", "service"))


def _domains(value: Any) -> tuple[str, ...]:
    found: tuple[str, ...] = list_of(_DOMAIN)(value)
    if len(set(found)) < len(found):
        raise ValueError("names one domain twice")
    return found


def _routes(value: Any) -> tuple[Route, ...]:
    return tuple(Route(**entry) for entry in list_of(_ROUTE)(value))


def _probe(value: Any) -> ProbeOptions:
    found = _PROBE(value)
    if "targets" in found:
        found["targets"] = tuple(Target(**entry) for entry in found["targets"])
    return ProbeOptions(**found)


READERS: dict[str, Reader] = {
    "domains": _domains,
    "routes": _routes,
    "edge": lambda value: EdgeOptions(**_EDGE(value)),
    "probe": _probe,
    "drain_seconds": number(),
    "monitor_seconds": number(),
    "hook_timeout_seconds": number(0.001),
    # A part of an image's reference or of a path, where a Compose file uses it so.
    "version": matching(
        r"[A-Za-z0-9_][A-Za-z0-9._+/-]{0,127}|", 'a version in quotes, such as "1.4.0"'
    ),
}
