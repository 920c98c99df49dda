"""What a rollout needs of a topology; nothing outside its driver knows which one is in use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from moorage.deploy.difference import Operation
from moorage.deploy.gate import Check
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release
from moorage.deploy.runtimes.base import Runtime, Surroundings
from moorage.release.layout import Layout
from moorage.release.manifest import Unit


@dataclass(frozen=True)
class Gap:
    """How long a service that must never run twice did not run at all, in seconds."""

    service: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the gap as plain data."""
        return {"service": self.service, "seconds": round(self.seconds, 3)}


class Driver(Protocol):
    """The driver of one topology on this host; ``runtime`` runs its instances."""

    runtime: Runtime

    def install(self, release: Release) -> list[str]:
        """Put in place what the release brings beside its instances.

        Returns the names of systemd units that were started.
        """

    def held(self, release: Release, instances: Sequence[Instance]) -> list[str]:
        """Return the services that somebody has stopped: an update does not start them.

        Changes nothing.
        """

    def stale(
        self, release: Release, instances: Mapping[str, Instance], restart: Collection[str]
    ) -> set[str]:
        """Return the names of instances to make anew although their label says nothing.

        ``restart`` names services that have to start anew in any case.
        """

    def prepare(
        self, release: Release, unit: Unit, slot: str, old: Instance | None, held: Sequence[str]
    ) -> list[str]:
        """Write what the instance that is about to be made in ``slot`` reads when it starts.

        What must not run twice, and what is held, does not start with it. Returns what was found
        in directories of the application that does not belong there.
        """

    def checks(self, unit: Unit, instance: Instance) -> Sequence[Check]:
        """Look once at what runs in an instance."""

    def beside(self, release: Release) -> Sequence[Check]:
        """Look once at what the release has beside its instances."""

    def hand_over(
        self,
        release: Release,
        unit: Unit,
        old: Instance | None,
        new: Instance,
        services: Collection[str] | None = None,
    ) -> list[Gap]:
        """Stop in ``old`` what must not run twice, and start it in ``new``.

        With ``services`` only those, and what they wait for; without, all that are left.
        """

    def take_back(
        self, release: Release, unit: Unit, instance: Instance, held: Sequence[str]
    ) -> list[str]:
        """Have everything run in an instance that is meant to, after a hand-over was given up."""

    def adapts(
        self,
        release: Release,
        unit: Unit,
        instance: Instance,
        restart: Collection[str],
        held: Sequence[str],
    ) -> list[Operation]:
        """Return what `adapt` would do to an instance that runs; changes nothing.

        ``held`` names what somebody has stopped.
        """

    def adapt(
        self,
        release: Release,
        unit: Unit,
        instance: Instance,
        restart: Collection[str],
        held: Sequence[str],
    ) -> list[str]:
        """Change what can be changed without a new instance; return the services concerned."""

    def surroundings(self, release: Release, unit: Unit, service: str) -> Surroundings:
        """Return in what a command runs that is to see what a service of the unit sees."""

    def retire(self, release: Release, stays: Release | None = None) -> None:
        """Take away what only this form of the stack had; another form of it runs by now.

        That is the release which stays, None when the whole stack goes.
        """


# By the name of a topology.
FindDriver = Callable[[str, Layout], Driver]
