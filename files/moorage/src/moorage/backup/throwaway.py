"""A throw-away stack made of a backup: on directories of its own, in reach of nobody.

It is a release like the one that was saved, of another stack's name and another layout, so drivers
and runtimes treat it as any other.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from moorage.backup.confined import NETWORK, closed_network, confined, mount_of, out_of_bounds
from moorage.backup.faults import BackupError
from moorage.backup.work import Work, sized
from moorage.common.files import write_atomically
from moorage.control.cgroup import read_container
from moorage.deploy.drivers.base import Driver
from moorage.deploy.foreign import remove_tree
from moorage.deploy.gate import Check, wait_until_healthy
from moorage.deploy.health import smoke_within
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release, read_part
from moorage.deploy.runtimes.base import Surroundings
from moorage.deploy.runtimes.seeding import seed
from moorage.release.directory import Composed
from moorage.release.layout import Layout
from moorage.release.manifest import Directory, Manifest, Unit, is_of
from moorage.release.names import COMPOSE, COMPOSE_JSON

_START_SECONDS = 300.0
_HEALTHY_SECONDS = 600.0
_STOP_MARGIN_SECONDS = 60.0
# An application says how long its end may take; a throw-away one is not waited for any longer.
_LONGEST_GRACE_SECONDS = 600.0
_POLL_SECONDS = 0.25
# Visitors of the stack that runs have the processors first.
_ANSWER_SECONDS = 15.0
_MEMORY = Path("/proc/meminfo")


class ThrowAway:
    """The throw-away stack of one proof; there as long as the context lasts.

    Also what an earlier proof has left that was killed is found by its names.
    """

    def __init__(self, work: Work, release: Release) -> None:
        self._work, self._of = work, release
        base = work.layout.proof
        self.layout = Layout(work.layout.proof_stack, base, base / "run")
        self.release = Release(
            release.id, self.layout.releases / release.id, self._moved_manifest(release.manifest)
        )
        self._driver: Driver = work.find_driver(release.topology, self.layout)
        self._runtime = self._driver.runtime
        # Paths of the host that services have and instances here have not.
        self.lacking: set[str] = set()
        self._floor = 0

    def __enter__(self) -> ThrowAway:
        self._clear()
        self.layout.base.mkdir(mode=0o700)
        shutil.copytree(self._of.path, self.release.path, symlinks=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def _clear(self) -> None:
        names = [instance.name for instance in self._runtime.instances(self.layout.stack)]
        self._runtime.remove(names)
        self._runtime.sweep(self.layout.stack)
        if self.layout.base.is_dir():
            remove_tree(self.layout.base)

    # -- a release of its own -------------------------------------------------------------

    def moved(self, path: Path) -> Path | None:
        """Return where the copy of a path of the stack is, None for one of somebody else's."""
        # What a release brings to a stable path was never restored: it has it itself.
        for name, target in self._of.manifest.install.items():
            if str(path) == target:
                return self.release.path / name
        layout = self._work.layout
        for old, new in ((layout.base, self.layout.base), (layout.run, self.layout.run)):
            if path.is_relative_to(old):
                return new / path.relative_to(old)
        return None

    def _moved_text(self, path: str) -> str:
        return str(self.moved(Path(path)) or path)

    def _moved_manifest(self, manifest: Manifest) -> Manifest:
        def entries(found: Sequence[Directory]) -> tuple[Directory, ...]:
            return tuple(replace(entry, path=self._moved_text(entry.path)) for entry in found)

        return replace(
            manifest,
            stack=self.layout.stack,
            runtime=entries(manifest.runtime),
            directories=entries(manifest.directories or ()),
            seeds=tuple(replace(s, path=self._moved_text(s.path)) for s in manifest.seeds),
            units=tuple(
                replace(
                    unit,
                    name=f"moorage-proof-{unit.name}",
                    stop_seconds=min(unit.stop_seconds, _LONGEST_GRACE_SECONDS),
                    slot_install={
                        slot: {name: self._moved_text(path) for name, path in files.items()}
                        for slot, files in unit.slot_install.items()
                    },
                )
                for unit in manifest.units
            ),
        )

    def _describe(self, units: Sequence[Unit], *, alone: bool) -> None:
        """Write what the engine reads of these units; ``alone``: each without a network."""
        composed = read_part(self._of, COMPOSE_JSON, Composed).get("services", {})
        # Before anything runs: by then what is below belongs to applications.
        self._make_directories()
        services = {
            _key(unit): self._entry(unit, composed.get(_key(unit), {}), alone) for unit in units
        }
        whole: dict[str, Any] = {"name": self.layout.stack, "services": services}
        if any("networks" in entry for entry in services.values()):
            whole["networks"] = {NETWORK: closed_network(self.layout.stack)}
        for name in (COMPOSE, COMPOSE_JSON):
            write_atomically(self.release.path / name, json.dumps(whole), 0o600)

    def _entry(self, unit: Unit, described: Any, alone: bool) -> dict[str, Any]:
        mounts = []
        for number, mount in enumerate(described.get("volumes") or ()):
            aside = self.layout.base / "lacking" / unit.service / str(number)
            own, lacking = mount_of(mount, self.moved, aside)
            mounts.append(own)
            if lacking:
                self.lacking.add(lacking)
                stand_in = Directory(str(aside), *_owner_of(lacking), "0755")
                self._make_directory(stand_in, file=Path(lacking).is_file())
            elif Path(own.get("source", "")).parent == self.layout.data:
                # Of a release that does not say whose it is.
                owner = _owner_of(mount["source"])
                self._make_directory(Directory(own["source"], *owner, "0700"))
        aliases = [
            name
            for network in (described.get("networks") or {}).values()
            for name in (network or {}).get("aliases") or ()
        ]
        # Also by the name that the service's instance has where it runs.
        names = dict.fromkeys([unit.service, unit.name.removeprefix("moorage-proof-"), *aliases])
        return confined(
            described,
            stack=self.layout.stack,
            service=unit.service,
            name=unit.next_name,
            slot=_slot(unit),
            stop_seconds=unit.stop_seconds,
            names=[] if alone else list(names),
            volumes=mounts,
        )

    def _make_directories(self) -> None:
        manifest = self.release.manifest
        for entry in (*(manifest.directories or ()), *manifest.runtime):
            self._make_directory(entry)
        for _ in seed(self.layout, self.release):
            pass  # Whose a volume is that was not restored, its image says here too.

    def _make_directory(self, entry: Directory, *, file: bool = False) -> None:
        """Make a directory that was not restored; all above it is root's alone.

        With ``file`` an empty file: an engine mounts no directory in the place of /etc/localtime.
        """
        path = Path(entry.path)
        if path.is_relative_to(self.layout.base) and not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch() if file else path.mkdir()
            os.chown(path, entry.owner, entry.group)
            path.chmod(int(entry.mode, 8))

    def forget(self, volumes: Sequence[str]) -> None:
        """Remove what a service has made of its volumes."""
        for name in volumes:
            if (path := self.layout.base / "data" / name).is_dir():
                remove_tree(path)

    # -- instances ------------------------------------------------------------------------

    def unit_of(self, service: str) -> Unit | None:
        """Return the unit of a service, None where the release has none."""
        return next((u for u in self.release.manifest.units if u.serves(service)), None)

    @contextmanager
    def alone(self, unit: Unit, service: str) -> Iterator[str]:
        """Run an instance of a unit by itself, without a network; gives its name.

        Of a unit with several processes only the service's are started.
        """
        self._describe([unit], alone=True)
        held = [name for name in unit.processes if not is_of(name, service)]
        self._start([unit], held)
        try:
            self.healthy([unit])
            self._hand_over([unit], [service])
            yield unit.next_name
        finally:
            # With its grace, since another instance starts on what it leaves.
            seconds = unit.stop_seconds + _STOP_MARGIN_SECONDS
            self._runtime.stop([unit.next_name], timeout_seconds=seconds)
            self._runtime.remove([unit.next_name])

    def restart(self, unit: Unit) -> None:
        """Start the instance of a unit anew, and wait until it is healthy."""
        seconds = unit.stop_seconds + _STOP_MARGIN_SECONDS
        self._runtime.restart(unit.next_name, timeout_seconds=seconds)
        self.healthy([unit])

    def within(
        self, unit: Unit, service: str, command: Sequence[str], *, interactive: bool = False
    ) -> list[str]:
        """Return the command line that runs a command beside a service."""
        beside: Surroundings = self._driver.surroundings(self.release, unit, service)
        return self._runtime.within(unit.next_name, command, beside, interactive=interactive)

    def run_application(self) -> str:
        """Start all that runs of the stack, wait for its health, ask it, and say what was seen.

        Raises BackupError, GateClosed, RuntimeFault, Unfit and OSError.
        """
        composed = read_part(self._of, COMPOSE_JSON, Composed).get("services", {})
        asked = [unit for unit in self.release.manifest.units if not unit.on_demand]
        out = {unit.name: out_of_bounds(composed.get(_key(unit), {})) for unit in asked}
        units = [unit for unit in asked if not out[unit.name]]
        if not units:
            raise BackupError("nothing of the stack can be started where nobody reaches it")
        self._require_memory(units)
        self._describe(units, alone=False)
        self._floor = shutil.disk_usage(self.layout.base).free // 2
        for group in _in_order(units):
            self._start(group)
            self.healthy(group)
        # Also what must not run twice: it does not, where nobody reaches the other one.
        self._hand_over(units)
        checks = self.healthy(units)
        targets = [
            target
            for unit in units
            for target in smoke_within(self.release, unit, self._pid(unit), _ANSWER_SECONDS)
        ]
        self.healthy(units)
        left = [f"{unit.service} ({out[unit.name]})" for unit in asked if out[unit.name]]
        told = [f"{len(checks)} services healthy", f"{len(targets)} requests answered"]
        told += [f"not started: {', '.join(left)}"] if left else []
        told += [f"without {', '.join(sorted(self.lacking))}"] if self.lacking else []
        return "; ".join(told)

    def _start(self, units: Sequence[Unit], held: Sequence[str] = ()) -> None:
        for unit in units:
            self._driver.prepare(self.release, unit, _slot(unit), None, held)
        keys = [_key(unit) for unit in units]
        self._runtime.make(self.release, keys, start=True, timeout_seconds=_START_SECONDS)

    def _hand_over(self, units: Sequence[Unit], services: Sequence[str] | None = None) -> None:
        found = self._found()
        for unit in (unit for unit in units if unit.singletons):
            self._driver.hand_over(self.release, unit, None, found[unit.next_name], services)
        self.healthy(units)

    def healthy(self, units: Sequence[Unit]) -> Sequence[Check]:
        """Wait until units are healthy, and return what was seen; raises GateClosed."""

        def look() -> list[Check]:
            if shutil.disk_usage(self.layout.base).free < self._floor:
                raise BackupError(
                    f"it writes without end: {sized(self._floor)} more than was restored, half of "
                    f"what {self._work.layout.base} had free"
                )
            found = self._found()
            return [check for unit in units for check in self._check(unit, found)]

        return wait_until_healthy(look, _HEALTHY_SECONDS, sleep=lambda _: time.sleep(_POLL_SECONDS))

    def _check(self, unit: Unit, found: dict[str, Instance]) -> Sequence[Check]:
        instance = found.get(unit.next_name)
        if instance is None:
            return [Check(unit.service, False, "it does not exist", hopeless=True)]
        return self._driver.checks(unit, instance)

    def _found(self) -> dict[str, Instance]:
        return {i.name: i for i in self._runtime.instances(self.layout.stack)}

    def _pid(self, unit: Unit) -> int:
        return self._found()[unit.next_name].pid

    def _require_memory(self, units: Sequence[Unit]) -> None:
        """Refuse to start what the host has no memory for; visitors of what runs need theirs.

        What an instance takes where it runs, and without one its limit, tell how much that is.
        """
        running = {i.name: i for i in self._runtime.instances(self._work.layout.stack)}
        composed = read_part(self._of, COMPOSE_JSON, Composed).get("services", {})
        needed = 0
        for unit in units:
            there = running.get(unit.name.removeprefix("moorage-proof-"))
            used = read_container(there.pid, there.id) if there else None
            needed += used.memory_bytes if used else _limit(composed.get(_key(unit), {}))
        if needed > (available := _available()):
            raise BackupError(
                f"the application was not started: it takes about {sized(needed)} of memory, and "
                f"the host has {sized(available)} available. Without this part proofs are shorter: "
                f"backup_prove_without_application: [{self._work.layout.stack}]"
            )


def _in_order(units: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Yield which units start together: data services first, others once what they need runs."""
    left = [unit for unit in units if not unit.data]
    if len(left) < len(units):
        yield [unit for unit in units if unit.data]
    while left:
        waiting = {unit.service for unit in left}
        # A circle would not have been deployed; here it starts as one.
        ready = [unit for unit in left if not waiting & (unit.needs.keys() - {unit.service})]
        yield ready or left
        left = [unit for unit in left if unit not in (ready or left)]


def _key(unit: Unit) -> str:
    return unit.keys[_slot(unit)]


def _slot(unit: Unit) -> str:
    return min(unit.keys)


def _owner_of(path: str) -> tuple[int, int]:
    try:
        status = os.lstat(path)
    except OSError:
        return 0, 0
    return status.st_uid, status.st_gid


def _limit(described: Any) -> int:
    """Return the memory that a description allows, in bytes; 0 where it says nothing."""
    limits = ((described.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    given = str(limits.get("memory") or "")
    return int(given) if given.isdigit() else 0


def _available() -> int:
    """Return the memory that can be had without taking it from anybody, in bytes."""
    lines = _MEMORY.read_text(encoding="ascii").splitlines()
    found = next((line.split() for line in lines if line.startswith("MemAvailable:")), [])
    return int(found[1]) << 10 if found else 0
