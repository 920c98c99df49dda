"""What a rollout needs of a topology; nothing outside its driver knows which one is in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from moorage.deploy.gate import Check
from moorage.deploy.layout import Layout
from moorage.deploy.release import Release


class Topology(Protocol):
    """The driver of one topology on this host."""

    def preflight(self, release: Release) -> None:
        """Raise before anything is touched when the release cannot run here."""

    def start(self, release: Release, timeout_seconds: float) -> dict[str, Any]:
        """Make ``release`` what runs; what it already has in common with the host stays.

        Returns what was done: ``changed`` (bool) and the names that were started or replaced.
        """

    def restart(self, services: Sequence[str]) -> None:
        """Start services anew although nothing of the release says so."""

    def checks(self) -> Sequence[Check]:
        """Look at every service once."""

    def prune(self, keep: Sequence[Release]) -> list[str]:
        """Remove what was made for releases that are not kept; return its names."""

    def retire(self, release: Release) -> None:
        """Take away what only this form of the stack had; another form of it runs by now."""

    def remove(self) -> None:
        """Take the stack's processes, containers and networks away; data stays."""


def driver(topology: str, layout: Layout) -> Topology:
    """Return the driver of ``topology``; raises ValueError for one that this version lacks."""
    from moorage.deploy.containers import ContainersTopology
    from moorage.deploy.unified import UnifiedTopology

    drivers: dict[str, Callable[[Layout], Topology]] = {
        "containers": ContainersTopology,
        "unified": UnifiedTopology,
    }
    try:
        return drivers[topology](layout)
    except KeyError:
        known = ", ".join(sorted(drivers))
        raise ValueError(
            f"this host's moorage has no topology {topology!r} (it has: {known})"
        ) from None
