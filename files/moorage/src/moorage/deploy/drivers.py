"""The topologies that this version has, by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from moorage.deploy.containers import ContainersTopology
from moorage.deploy.topology import Topology
from moorage.deploy.unified import UnifiedTopology
from moorage.release.layout import Layout

_DRIVERS: Mapping[str, Callable[[Layout], Topology]] = {
    "containers": ContainersTopology,
    "unified": UnifiedTopology,
}


def driver(topology: str, layout: Layout) -> Topology:
    """Return the driver of ``topology``; raises ValueError for one that this version lacks."""
    try:
        return _DRIVERS[topology](layout)
    except KeyError:
        known = ", ".join(sorted(_DRIVERS))
        raise ValueError(
            f"this host's moorage has no topology {topology!r} (it has: {known})"
        ) from None
