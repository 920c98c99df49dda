"""The containers topology on a host: one container a service, a gateway beside them.

What another topology has no other answer to, it takes from here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from moorage.common.readers import read_names
from moorage.deploy import systemd
from moorage.deploy.difference import Operation
from moorage.deploy.drivers.base import Gap
from moorage.deploy.gate import Check
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release, install_files, remove_files
from moorage.deploy.runtimes.base import AS_IT_IS, Runtime, Surroundings
from moorage.release.layout import Layout
from moorage.release.manifest import Unit

_LOG_LINES = 15
_RESTART_SECONDS = 120
_ENOUGH_RESTARTS = 3


class ContainersDriver:
    """Driver of the containers topology; see `Driver`."""

    def __init__(self, layout: Layout, runtime: Runtime) -> None:
        self.layout = layout
        self.runtime = runtime

    def install(self, release: Release) -> list[str]:
        """Put files in place and have the gateway run."""
        install_files(release)
        return systemd.start(release)

    def held(self, release: Release, instances: Sequence[Instance]) -> list[str]:
        """Return services whose containers somebody has stopped."""
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
        """Return the containers of services that have to start anew."""
        return {
            unit.name
            for unit in release.manifest.units
            if unit.service in restart and (unit.rolled or unit.singleton or unit.one_off)
        }

    def prepare(
        self, release: Release, unit: Unit, slot: str, old: Instance | None, held: Sequence[str]
    ) -> list[str]:
        """Nothing: everything is in the description of the container."""
        return []

    def checks(self, unit: Unit, instance: Instance) -> Sequence[Check]:
        """Look at a container by what the engine says of it."""
        return [self._check(unit, instance)]

    def beside(self, release: Release) -> Sequence[Check]:
        """Look at the units that belong to the stack."""
        return systemd.checks(release)

    def hand_over(
        self,
        release: Release,
        unit: Unit,
        old: Instance | None,
        new: Instance,
        services: Collection[str] | None = None,
    ) -> list[Gap]:
        """Nothing: what must not run twice is a container of its own here."""
        return []

    def take_back(
        self, release: Release, unit: Unit, instance: Instance, held: Sequence[str]
    ) -> list[str]:
        """Nothing was handed over."""
        return []

    def adapts(
        self,
        release: Release,
        unit: Unit,
        instance: Instance,
        restart: Collection[str],
        held: Sequence[str],
    ) -> list[Operation]:
        """Restart a container in its place, where it cannot be replaced by one beside it."""
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
        """Do so."""
        due = [operation.name for operation in self.adapts(release, unit, instance, restart, held)]
        if due:
            seconds = unit.stop_seconds + _RESTART_SECONDS
            self.runtime.restart(instance.name, timeout_seconds=seconds)
        return due

    def surroundings(self, release: Release, unit: Unit, service: str) -> Surroundings:
        """Return the container's own."""
        return AS_IT_IS

    def retire(self, release: Release, stays: Release | None = None) -> None:
        """Take away what only this form has beside its containers."""
        systemd.withdraw(release, self.layout, stays)
        remove_files(release, stays)

    def _check(self, unit: Unit, instance: Instance) -> Check:
        """Say how a container is that is meant to run, or to have ended well."""
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
            detail += f", the engine could not start it: {instance.refused}"
        if instance.out_of_memory:
            detail += ", killed for want of memory"
        if instance.restarts:
            detail += f", restarted {instance.restarts} times"
        candidate = instance.name == unit.next_name
        # One that is to take over and has ended already would end again; one that has to end before
        # others start is not done while it runs.
        if instance.settled and not unit.one_off and not (candidate and instance.restarts):
            return Check(name, True, detail)
        hopeless = unit.one_off and state == "exited"
        if candidate:
            hopeless = instance.restarts >= _ENOUGH_RESTARTS or ended
        lines = [*instance.health_log, *self.runtime.logs(instance.name, _LOG_LINES)]
        return Check(name, False, detail, hopeless=hopeless, log=lines)
