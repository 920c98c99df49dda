"""How the edge treats the visitors of a stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from moorage.settings.readers import (
    ROUTE_PATH,
    SERVICE,
    list_of,
    map_of,
    network,
    number,
    one_of,
    record,
    size,
    whole,
)
from moorage.settings.table import setting

_BODY, _BODIES, _RATE, _TIME = size(), size(), size(), number(0.001)
_BY_SERVICE = {
    "max_body_bytes": _BODY,
    "max_bodies_bytes": _BODIES,
    "min_body_rate_bytes": _RATE,
    "read_timeout_seconds": _TIME,
    "stream_timeout_seconds": _TIME,
}


@dataclass(frozen=True)
class Options:
    """How the edge treats a stack's visitors; sizes in bytes, times in seconds."""

    max_body_bytes: int = setting(64 * 2**20, _BODY, "the largest upload; 0: no limit", shown="64m")
    max_bodies_bytes: int = setting(
        0,
        _BODIES,
        "how much of uploads a service may have at the edge at a time; more gets 503. 0: half of "
        "`edge_bodies_mb`, or two of `max_body_bytes` where that is more; never more than "
        "`edge_bodies_mb`",
    )
    min_body_rate_bytes: int = setting(
        1024,
        _RATE,
        "an upload that comes more slowly, in bytes a second over `edge_body_grace_seconds`, gets "
        "408; 0: none does",
    )
    read_timeout_seconds: float = setting(
        60.0, _TIME, "how long a service may be silent before the visitor is told so"
    )
    stream_timeout_seconds: float = setting(
        3600.0,
        _TIME,
        "how long a WebSocket or a stream of events may be silent in both directions; it also is "
        "how long a service may take to begin one",
    )
    services: Mapping[str, Mapping[str, Any]] = setting(
        {},
        map_of(record(_BY_SERVICE), "a mapping by the names of services", SERVICE),
        "the five above for a single service: `{pictures: {max_body_bytes: 200m, "
        "max_bodies_bytes: 1g}}`",
    )
    static_paths: tuple[str, ...] = setting(
        (),
        list_of(ROUTE_PATH),
        "what is cached, in the edge and by browsers, unless the application says otherwise",
    )
    static_max_age_seconds: int = setting(3600, whole(), "for how long")
    private_paths: tuple[str, ...] = setting(
        (),
        list_of(ROUTE_PATH),
        "what the edge gives only to the host itself and to `private_networks`, such as "
        "`[/metrics]`; others get 404",
    )
    private_networks: tuple[str, ...] = setting(
        (), list_of(network), "who else gets it: addresses and networks"
    )
    frame_options: str = setting(
        "SAMEORIGIN",
        one_of("SAMEORIGIN", "DENY", ""),
        'who may show the pages in a frame: `SAMEORIGIN`, `DENY`, or `""` to leave it to the '
        "service",
    )
    hsts_seconds: int = setting(
        0, whole(), "for how long browsers are to come by HTTPS only; 0 does not ask them to"
    )
    hold_seconds: float = setting(
        10.0,
        number(),
        "how long visitors wait while a service is replaced in place; then they get the "
        "maintenance page",
    )
    upstream_keepalive_seconds: float = setting(
        1.0,
        _TIME,
        "how long an idle connection to a service is kept; must be shorter than the service keeps "
        "it (gunicorn: 2)",
    )

    def of(self, service: str) -> Options:
        """Return what holds for a service."""
        return replace(self, **self.services.get(service, {}))
