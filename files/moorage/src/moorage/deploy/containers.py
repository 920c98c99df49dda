"""The containers topology on a host: one container a service, a gateway beside them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from moorage.common.files import write_atomically
from moorage.common.readers import read_names
from moorage.deploy import docker, systemd
from moorage.deploy.difference import Operation
from moorage.deploy.docker import Container
from moorage.deploy.gate import Check
from moorage.deploy.release import Release, install_files, remove_files
from moorage.deploy.topology import Gap
from moorage.release.layout import Layout
from moorage.release.manifest import Unit

_LOG_LINES = 15
_RESTART_SECONDS = 120
_ENOUGH_RESTARTS = 3


class ContainersTopology:
    """Driver of the containers topology."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def install(self, release: Release) -> list[str]:
        """Put files in place and have the gateway run."""
        install_files(release)
        return systemd.start(release)

    def held(self, release: Release, containers: Sequence[Container]) -> list[str]:
        """Return services whose containers somebody has stopped."""
        return held(self._layout, containers)

    def stale(
        self, release: Release, containers: Mapping[str, Container], restart: Collection[str]
    ) -> set[str]:
        """Return the containers of services that have to start anew."""
        return {
            unit.name
            for unit in release.manifest.units
            if unit.service in restart and (unit.rolled or unit.singleton or unit.one_off)
        }

    def prepare(
        self, release: Release, unit: Unit, slot: str, old: Container | None, held: Sequence[str]
    ) -> list[str]:
        """Nothing: everything is in the description of the container."""
        return []

    def checks(self, unit: Unit, container: Container) -> Sequence[Check]:
        """Look at a container by what the engine says of it."""
        return [check(unit, container)]

    def beside(self, release: Release) -> Sequence[Check]:
        """Look at the units that belong to the stack."""
        return systemd.checks(release)

    def hand_over(
        self, release: Release, unit: Unit, old: Container | None, new: Container
    ) -> list[Gap]:
        """Nothing: what must not run twice is a container of its own here."""
        return []

    def take_back(
        self, release: Release, unit: Unit, container: Container, held: Sequence[str]
    ) -> list[str]:
        """Nothing was handed over."""
        return []

    def adapts(
        self, release: Release, unit: Unit, container: Container, restart: Collection[str]
    ) -> list[Operation]:
        """Restart a container in its place, where it cannot be replaced by one beside it."""
        return restarts(unit, container, restart)

    def adapt(
        self, release: Release, unit: Unit, container: Container, restart: Collection[str]
    ) -> list[str]:
        """Do so."""
        return restart_in_place(unit, container, restart)

    def retire(self, release: Release, stays: Release | None = None) -> None:
        """Take away what only this form has beside its containers."""
        systemd.withdraw(release, self._layout, stays)
        remove_files(release, stays)


def held(layout: Layout, containers: Sequence[Container]) -> list[str]:
    """Return the services that somebody has stopped by the engine."""
    noted = read_names(layout.held)
    return sorted(
        {c.service for c in containers if c.held or (c.state == "created" and c.service in noted)}
    )


def note_held(layout: Layout, services: Sequence[str]) -> None:
    """Note the services that somebody has stopped.

    One whose container was replaced meanwhile looks like one that was never started: the note
    tells them apart.
    """
    if services or read_names(layout.held):
        write_atomically(layout.held, json.dumps(list(services)) + "\n")


def restarts(unit: Unit, container: Container, restart: Collection[str]) -> list[Operation]:
    """Return what a container has done to it whose service has to start anew where it is."""
    if unit.service not in restart or container.state != "running":
        return []
    return [Operation("service to restart", unit.service)]


def restart_in_place(unit: Unit, container: Container, restart: Collection[str]) -> list[str]:
    """Restart it, if it has to; return its service then."""
    due = restarts(unit, container, restart)
    if due:
        seconds = unit.stop_seconds + _RESTART_SECONDS
        docker.run(["restart", container.name], timeout_seconds=seconds)
    return [operation.name for operation in due]


def check(unit: Unit, container: Container) -> Check:
    """Say how a container is that is meant to run, or to have ended well."""
    name = unit.service if unit.replica == 1 else f"{unit.service} ({unit.replica})"
    if unit.on_demand and container.state in ("created", "exited"):
        return Check(name, True, f"{container.state}: starts on demand")
    if container.done or (unit.one_off and container.state == "exited" and not container.exit_code):
        return Check(name, True, "exited with 0: done")
    detail = container.state
    if container.health != "none":
        detail += f", {container.health}"
    if container.state in ("exited", "dead"):
        detail += f", exit code {container.exit_code}"
    if container.refused:
        detail += f", the engine could not start it: {container.refused}"
    if container.out_of_memory:
        detail += ", killed for want of memory"
    if container.restarts:
        detail += f", restarted {container.restarts} times"
    candidate = container.name == unit.next_name
    # One that is to take over and has ended already would end again; one that has to end before
    # others start is not done while it runs.
    if container.settled and not unit.one_off and not (candidate and container.restarts):
        return Check(name, True, detail)
    hopeless = unit.one_off and container.state == "exited"
    if candidate:
        hopeless = container.restarts >= _ENOUGH_RESTARTS or container.state in ("exited", "dead")
    lines = [*container.health_log, *docker.logs(container.name, _LOG_LINES)]
    return Check(name, False, detail, hopeless=hopeless, log=lines)
