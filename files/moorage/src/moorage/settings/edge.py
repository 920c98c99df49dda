"""Settings of a host's edge, and of how it treats the visitors of a stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from moorage.settings.readers import (
    PORT,
    ROUTE_PATH,
    SERVICE,
    flag,
    list_of,
    map_of,
    network,
    number,
    one_of,
    record,
    size,
    whole,
    words,
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

    max_body_bytes: int = setting(
        64 * 2**20, _BODY, "the largest upload, a larger one gets 413; 0: no limit", shown="64m"
    )
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
        60.0, _TIME, "how long a service may be silent before the visitor gets 504"
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
    static_max_age_seconds: int = setting(3600, whole(), "for how long; 0 turns it off")
    static_immutable: bool = setting(
        False,
        flag,
        "whether browsers are told that such a file never changes, so that a reload asks for "
        "none: for names that change with the content",
    )
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
        0,
        whole(),
        "for how long browsers are to come by HTTPS only, which they remember: try HTTPS first; 0 "
        "does not ask them to",
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


_NAMES = list_of(words())
_CERTIFICATE = record(
    {
        # Written without any, it is empty in YAML.
        "domains": lambda value: _NAMES(() if value is None else value),
        "certificate": words(),
        "key": words(),
    },
    ("certificate", "key"),
)


def _workers(value: Any) -> str:
    return value if value == "auto" else str(whole(1, 1024, " or auto")(value))


@dataclass(frozen=True)
class Settings:
    """Settings of the host's edge, by their names without `edge_`.

    Their meaning is in the role's argument spec, as of every role's. What the plan or the host
    works out comes last.
    """

    kind: str = setting("auto", one_of("auto", "container", "native", "none"), "")
    tls: str = setting("off", one_of("off", "selfsigned", "files", "acme"), "")
    http_port: int = setting(80, PORT, "")
    https_port: int = setting(443, PORT, "")
    probe_port: int = setting(19980, PORT, "")
    redirect_to_https: bool = setting(True, flag, "")
    certificates: tuple[dict[str, Any], ...] = setting((), list_of(_CERTIFICATE), "")
    acme_directory: str = setting("", words(empty=True), "")
    acme_contact: str = setting("", words(empty=True), "")
    acme_ca_bundle: str = setting("", words(empty=True), "")
    trusted_proxies: tuple[str, ...] = setting((), list_of(network), "")
    access_log_enabled: bool = setting(True, flag, "")
    access_log_query_enabled: bool = setting(False, flag, "")
    connections_per_address: int = setting(512, whole(1), "")
    hold_waiters: int = setting(1000, whole(), "")
    bodies_mb: int = setting(1024, whole(1, 2**20), "")
    body_grace_seconds: int = setting(30, whole(1, 3600), "")
    worker_processes: str = setting("auto", _workers, "")
    shutdown_seconds: int = setting(3600, whole(), "")
    static_cache_mb: int = setting(128, whole(), "")
    image: str = setting("", words(empty=True), "")
    log_dir: str = setting("/var/log/moorage/edge", words(), "")
    cache_dir: str = setting("/var/cache/moorage/edge", words(), "")
    container: str = setting("moorage-edge", words(), "")
