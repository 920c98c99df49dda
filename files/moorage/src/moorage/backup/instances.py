"""The instances of a stack whose data is restored: which stop for it, take a dump, and start."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from moorage.backup.faults import BackupError
from moorage.backup.saving import load
from moorage.backup.work import Work, running_instance
from moorage.deploy.gate import wait_until_healthy
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release
from moorage.deploy.scene import Limits, Scene
from moorage.deploy.traffic import Traffic
from moorage.release.manifest import Unit

_RESTART_SECONDS = 120.0


def restore_command(
    release: Release, service: str, tables: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the command by which a service takes a dump, or tables of one; () when it has none."""
    backups = (s.backup for s in release.manifest.services if s.name == service and s.backup)
    for backup in backups:
        if not tables:
            return backup.restore
        return (*backup.restore_tables, *tables) if backup.restore_tables else ()
    return ()


class Instances:
    """What runs of a release; all of it gets so many seconds to become healthy."""

    def __init__(
        self, work: Work, release: Release, held: Sequence[str], gate_seconds: float
    ) -> None:
        self._work, self._release, self._gate_seconds = work, release, gate_seconds
        self._driver = work.driver(release)
        traffic = Traffic(work.layout.stack, work.edge)
        self._scene = Scene(work.layout, release, self._driver, traffic, Limits())
        self.hold(held)

    def held(self) -> list[str]:
        """Return the services that somebody has stopped."""
        return self._driver.held(self._release, list(self._scene.look().values()))

    def hold(self, services: Sequence[str]) -> None:
        """Leave services as they are that somebody has stopped."""
        self._scene.did.held = list(services)

    def writers(self, paths: Collection[str]) -> list[str]:
        """Return those that run and could write to what is replaced, or lean on it.

        ``paths`` are the directories among that; data services without one run on.
        """
        data = {unit.name for unit in self._release.manifest.units if unit.data}
        return [
            i.name for i in self._alive() if i.name not in data or {*paths} & {*i.writes, *i.reads}
        ]

    def of(self, services: Collection[str]) -> list[str]:
        """Return those of services that run."""
        return [i.name for i in self._alive() if i.service in services]

    def _alive(self) -> list[Instance]:
        return [i for i in self._scene.look().values() if i.alive]

    def stop(self, names: Sequence[str]) -> None:
        """Stop instances, each with its own grace."""
        if names:
            self._work.tell(f"stopping {', '.join(names)}")
            self._scene.stop(names)

    def start(self, stopped: Collection[str], *, migrate: bool) -> None:
        """Start what was stopped, data services first, and wait for the health of all.

        ``migrate``: what runs once, before others, does so again.
        """
        units = [unit for unit in self._release.manifest.units if not unit.on_demand]
        down = {name for name, i in self._scene.look().items() if not i.alive}
        due = [unit for unit in units if unit.name in stopped and unit.name in down]
        once = [u for u in units if u.one_off and u.name in down and migrate]
        data = [unit for unit in due if unit.data]
        for group in (data, *([unit] for unit in once), [u for u in due if u not in data]):
            if group:
                self._driver.runtime.start([unit.name for unit in group])
                self._healthy(group)
        names = {unit.name for unit in units}
        # An instance that no unit describes ran as well.
        other = [n for n in stopped if n not in names and n in down]
        if other:
            self._driver.runtime.start(other)
        self._work.tell("waiting until all is healthy")
        wait_until_healthy(self._scene.everything, self._gate_seconds)

    def load(
        self, service: str, dump: Path, tables: Collection[str], begin: Callable[[], None]
    ) -> None:
        """Have a service put a dump in the place of what it has, or the rows of tables alone.

        It is started anew afterwards. ``begin`` is called before the first byte.
        """
        unit = next(u for u in self._release.manifest.units if u.serves(service))
        there = self._scene.look().get(unit.name)
        if there is None:
            raise BackupError(f"there is no container {unit.name}: deploy the stack first")
        runtime = self._driver.runtime
        if not there.alive:
            runtime.start([unit.name])
        self._healthy([unit])
        instance = running_instance(self._release, service, self._scene.found)
        if instance is None:
            raise BackupError(f"{service} does not run, so it takes no dump: see its log")
        beside = self._driver.surroundings(self._release, unit, service)
        command = restore_command(self._release, service, tables)
        argv = runtime.within(instance.name, command, beside, interactive=True)
        began = time.monotonic()
        begin()
        try:
            with dump.open("rb") as source:
                load(service, argv, source)
        finally:
            # Some take it with their next start, and no other one keeps what it had in memory.
            # Also after a failure: what was ended for its slowness goes on in its container.
            seconds = unit.stop_seconds + _RESTART_SECONDS
            runtime.restart(instance.name, timeout_seconds=seconds)
        self._healthy([unit])
        self._work.tell(f"{service} has its dump after {time.monotonic() - began:.1f} s")

    def _healthy(self, units: Sequence[Unit]) -> None:
        look = self._scene.looker({unit.name for unit in units})
        wait_until_healthy(look, self._gate_seconds)
