"""What a rollout needs of a topology; nothing outside its driver knows which one is in use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moorage.common.readers import read_names
from moorage.deploy import systemd
from moorage.deploy.difference import Operation
from moorage.deploy.gate import Check
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release, install_files, remove_files
from moorage.deploy.runtimes.base import AS_IT_IS, Runtime, Surroundings
from moorage.release.layout import Layout
from moorage.release.manifest import Unit

_LOG_LINES = 15
_RESTART_SECONDS = 120
# As the engine has it: 128 and the number of the signal.
_KILLED = 137
_ENOUGH_RESTARTS = 3


@dataclass(frozen=True)
class Gap:
    """How long a service that must never run twice did not run at all, in seconds."""

    service: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the gap as plain data."""
        return {"service": self.service, "seconds": round(self.seconds, 3)}


class Driver:
    """The driver of one topology on this host; ``runtime`` runs its instances.

    What stands here holds where each service is an instance of its own.
    """

    def __init__(self, layout: Layout, runtime: Runtime) -> None:
        self.layout = layout
        self.runtime = runtime

    def install(self, release: Release) -> list[str]:
        """Put in place what the release brings beside its instances.

        Returns the names of systemd units that were started.
        """
        install_files(release)
        return systemd.start(release)

    def held(self, release: Release, instances: Sequence[Instance]) -> list[str]:
        """Return the services that somebody has stopped: an update does not start them.

        Changes nothing.
        """
        noted = read_names(self.layout.held)
        return sorted(
            {
                i.service
                for i in instances
                if i.held or (i.state == "created" and i.service in noted)
            }
        )

    def stale(
        self, release: Release, instances: Mapping[str, Instance], restart: Collection[str]
    ) -> set[str]:
        """Return the names of instances to make anew although their label says nothing.

        ``restart`` names services that have to start anew in any case.
        """
        raise NotImplementedError

    def prepare(
        self, release: Release, unit: Unit, slot: str, old: Instance | None, held: Sequence[str]
    ) -> list[str]:
        """Write what the instance that is about to be made in ``slot`` reads when it starts.

        What must not run twice, and what is held, does not start with it. Returns what was found
        in directories of the application that does not belong there.
        """
        return []

    def checks(self, unit: Unit, instance: Instance) -> Sequence[Check]:
        """Look once at what runs in an instance."""
        return [self._check(unit, instance)]

    def beside(self, release: Release) -> Sequence[Check]:
        """Look once at what the release has beside its instances."""
        return systemd.checks(release)

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
        return []

    def take_back(
        self, release: Release, unit: Unit, instance: Instance, held: Sequence[str]
    ) -> list[str]:
        """Have everything run in an instance that is meant to, after a hand-over was given up."""
        return []

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
        if unit.service not in restart or instance.state != "running":
            return []
        return [Operation("service to restart", unit.service)]

    def adapt(
        self,
        release: Release,
        unit: Unit,
        instance: Instance,
        restart: Collection[str],
        held: Sequence[str],
    ) -> list[str]:
        """Change what can be changed without a new instance; return the services concerned."""
        due = [operation.name for operation in self.adapts(release, unit, instance, restart, held)]
        if due:
            seconds = unit.stop_seconds + _RESTART_SECONDS
            self.runtime.restart(instance.name, timeout_seconds=seconds)
        return due

    def surroundings(self, release: Release, unit: Unit, service: str) -> Surroundings:
        """Return in what a command runs that is to see what a service of the unit sees."""
        return AS_IT_IS

    def retire(self, release: Release, stays: Release | None = None) -> None:
        """Take away what only this form of the stack had; another form of it runs by now.

        That is the release which stays, None when the whole stack goes.
        """
        systemd.withdraw(release, self.layout, stays)
        remove_files(release, stays)

    def _check(self, unit: Unit, instance: Instance) -> Check:
        """Say how an instance is that is meant to run, or to have ended well."""
        name = unit.service if unit.replica == 1 else f"{unit.service} ({unit.replica})"
        state, ended = instance.state, instance.state in ("exited", "dead")
        if unit.on_demand and state in ("created", "exited"):
            return Check(name, True, f"{state}: starts on demand")
        if instance.done or (unit.one_off and state == "exited" and not instance.exit_code):
            return Check(name, True, "exited with 0: done")
        detail = state
        if instance.health != "none":
            detail += f", {instance.health}"
        if ended:
            detail += f", exit code {instance.exit_code}"
        if instance.refused:
            detail += f", it could not be started: {instance.refused}"
        if instance.out_of_memory:
            detail += ", killed for want of memory"
        elif state == "restarting" and instance.exit_code == _KILLED:
            # The kernel's note may come after the engine's, and is gone with the next start.
            detail += ", ended by SIGKILL, as for want of memory"
        if instance.restarts:
            detail += f", restarted {instance.restarts} times"
        candidate = instance.name == unit.next_name
        # One that is to take over and has ended already would end again; one that has to end before
        # others start is not done while it runs.
        if instance.settled and not unit.one_off and not (candidate and instance.restarts):
            return Check(name, True, detail)
        hopeless = unit.one_off and state == "exited"
        if candidate:
            # While it waits to be started again, there is known how it has ended.
            hopeless = ended or (state == "restarting" and instance.restarts >= _ENOUGH_RESTARTS)
        lines = [*instance.health_log, *self.runtime.logs(instance.name, _LOG_LINES)]
        return Check(name, False, detail, hopeless=hopeless, log=lines)


# By the name of a topology.
FindDriver = Callable[[str, Layout], Driver]
