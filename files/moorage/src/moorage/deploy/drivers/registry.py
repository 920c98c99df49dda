"""The topologies that this version has, by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from moorage.deploy.drivers.base import Driver
from moorage.deploy.drivers.containers import ContainersDriver
from moorage.deploy.drivers.host import HostDriver
from moorage.deploy.drivers.unified import UnifiedDriver
from moorage.deploy.runtimes.base import Runtime
from moorage.deploy.runtimes.registry import runtime
from moorage.release.layout import Layout

_DRIVERS: Mapping[str, Callable[[Layout, Runtime], Driver]] = {
    "containers": ContainersDriver,
    "host": HostDriver,
    "unified": UnifiedDriver,
}


def driver(topology: str, layout: Layout, by: Runtime | None = None) -> Driver:
    """Return the driver of ``topology``; raises ValueError for one that this version lacks."""
    try:
        return _DRIVERS[topology](layout, by or runtime(layout))
    except KeyError:
        known = ", ".join(sorted(_DRIVERS))
        raise ValueError(
            f"this host's moorage has no topology {topology!r} (it has: {known})"
        ) from None
