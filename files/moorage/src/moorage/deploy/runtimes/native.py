"""Instances that are processes of this host: a record each, and a manager that runs them."""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from moorage.common.files import write_atomically
from moorage.common.readers import Damaged, read_note
from moorage.common.shape import make
from moorage.deploy.accounts import ensure_account
from moorage.deploy.instance import Instance, Published
from moorage.deploy.release import Release, ReleaseError, read_part
from moorage.deploy.runtimes import environments
from moorage.deploy.runtimes.base import AS_IT_IS, RuntimeFault, Surroundings
from moorage.deploy.runtimes.entering import entered, variables_of, write_variables
from moorage.deploy.runtimes.managers.base import Look, Manager
from moorage.deploy.runtimes.managers.own import Own
from moorage.deploy.runtimes.managers.supervisor import Supervisor
from moorage.deploy.runtimes.managers.systemd import Systemd
from moorage.deploy.runtimes.records import (
    Record,
    is_recorded,
    read_record,
    read_records,
    record,
    remove_record,
    rename_record,
    write_record,
)
from moorage.release.layout import Layout
from moorage.release.manifest import DEFAULT_PIDS, Unit
from moorage.release.names import COMPOSE_JSON, LIBRARY
from moorage.release.native import PROCESSES, Process

# What a stop and a start may take beyond the grace of the process.
_MARGIN_SECONDS = 60.0
# No deploy takes a process for gone that may run.
_MEND = "End what runs of it, remove that file, and deploy the stack again: that makes it anew"
_MANAGERS: Mapping[str, Callable[[Layout], Manager]] = {
    "systemd": lambda _: Systemd(),
    "supervisor": Supervisor,
    "own": Own,
}


class Native:
    """Runs a stack's instances as processes of this host; see `Runtime`."""

    def __init__(self, layout: Layout, managers: Mapping[str, Manager] | None = None) -> None:
        self._layout = layout
        self._managers = managers or {name: kind(layout) for name, kind in _MANAGERS.items()}

    # -- looking --------------------------------------------------------------------------

    def instances(self, stack: str) -> list[Instance]:
        """Return what was made for services of the stack, running or not, by name."""
        records = self._records()
        looks: dict[str, Look] = {}
        for name, manager in self._managers.items():
            units = [r.process.unit for r in records.values() if r.manager == name]
            looks |= manager.look(units) if units else {}
        health = read_note(self._layout.watch / "health.json") if records else {}
        return [
            _instance(name, found, looks.get(found.process.unit), health)
            for name, found in sorted(records.items())
        ]

    def logs(self, name: str, lines: int, times: bool = False) -> list[str]:
        """Return the last lines that an instance has written; or why there are none."""
        try:
            found = self._record(name)
        except RuntimeFault as trouble:
            return str(trouble).splitlines()
        return self._managers[found.manager].logs(found.process.unit, lines, times)

    def out_of_memory(self, name: str) -> bool:
        """Tell whether the kernel has killed a process of it for want of memory."""
        found = self._record(name)
        look = self._managers[found.manager].look([found.process.unit])
        return any(entry.out_of_memory for entry in look.values())

    def _records(self) -> dict[str, Record]:
        try:
            return read_records(self._layout)
        except Damaged as damage:
            raise RuntimeFault(f"{damage}. {_MEND}") from None

    def _record(self, name: str) -> Record:
        try:
            found = read_record(self._layout, name)
        except Damaged as damage:
            raise RuntimeFault(f"{damage}. {_MEND}") from None
        if found is None:
            raise RuntimeFault(f"there is no process {name} of {self._layout.stack}")
        return found

    def has(self, name: str) -> bool:
        """Tell whether an instance of that name is one of these."""
        return is_recorded(self._layout, name)

    # -- making and removing --------------------------------------------------------------

    def make(
        self, release: Release, keys: Sequence[str], *, start: bool, timeout_seconds: float
    ) -> None:
        """Make the processes of these keys anew, in the place of those that have their names."""
        composed = read_part(release, COMPOSE_JSON, dict[str, Any])["services"]
        described = _processes(release)
        try:
            wanted = {key: (composed[key], described[key]) for key in keys}
        except KeyError as missing:
            raise ReleaseError(f"release {release.id} describes no process {missing}") from None
        names = {key: entry["container_name"] for key, (entry, _) in wanted.items()}
        there = self._records()
        self._clear([name for name in names.values() if name in there])
        for key, (entry, process) in wanted.items():
            uid, _, gid = process.user.partition(":")
            ensure_account(int(uid), int(gid), process.groups)
            found = record(release.id, key, entry, process)
            write_record(self._layout, names[key], found)
            write_variables(self._layout, process)
        processes = {key: process for key, (_, process) in wanted.items()}
        try:
            for manager in dict.fromkeys(process.manager for process in processes.values()):
                own = {key: item for key, item in processes.items() if item.manager == manager}
                self._manager(manager).install(release, own)
            if start:
                self._start([names[key] for key in keys], timeout_seconds)
        finally:
            self._settle()

    def _clear(self, names: Sequence[str]) -> None:
        running = [i.name for i in self.instances(self._layout.stack) if i.alive]
        due = [name for name in names if name in running]
        graces = [self._record(name).process.stop_seconds for name in due]
        self.stop(due, timeout_seconds=max(graces, default=0.0) + _MARGIN_SECONDS)
        self._remove(names)

    def _manager(self, name: str) -> Manager:
        if name not in self._managers:
            raise RuntimeFault(f"this host's moorage has no process manager {name!r}")
        return self._managers[name]

    def start(self, names: Sequence[str]) -> None:
        """Start instances that there are."""
        self._start(names, _MARGIN_SECONDS)

    def _start(self, names: Sequence[str], timeout_seconds: float) -> None:
        for name in names:
            write_record(self._layout, name, replace(self._record(name), started=True))
        for manager, units in self._by_manager(names):
            manager.start(units, timeout_seconds=timeout_seconds)

    def restart(self, name: str, *, timeout_seconds: float) -> None:
        """Stop an instance with its grace, and start it."""
        found = self._record(name)
        unit = found.process.unit
        self._managers[found.manager].restart(unit, timeout_seconds=timeout_seconds)

    def stop(self, names: Sequence[str], *, timeout_seconds: float) -> None:
        """Stop instances side by side, each with its own grace."""
        for manager, units in self._by_manager(names):
            manager.stop(units, timeout_seconds=timeout_seconds)

    def hold(self, names: Sequence[str]) -> None:
        """Have those that somebody has stopped stay so over a boot, until they are started."""
        for manager, units in self._by_manager(names):
            manager.hold(units)

    def forgive(self, names: Sequence[str]) -> None:
        """Have the pauses between restarts of those that run well begin anew."""
        for manager, units in self._by_manager(names):
            manager.forgive(units)

    def remove(self, names: Sequence[str]) -> None:
        """Remove instances, running or not."""
        try:
            self._remove(names)
        finally:
            self._settle()

    def _remove(self, names: Sequence[str]) -> None:
        for manager, units in self._by_manager(names):
            manager.remove(units)
            for unit in units:
                self._layout.variables(unit).unlink(missing_ok=True)
        with suppress(OSError):
            self._layout.processes.rmdir()
        for name in names:
            remove_record(self._layout, name)

    def _settle(self) -> None:
        for manager in self._managers.values():
            manager.settle()

    def _by_manager(self, names: Sequence[str]) -> list[tuple[Manager, list[str]]]:
        found: dict[str, list[str]] = {}
        for name in names:
            entry = self._record(name)
            found.setdefault(entry.manager, []).append(entry.process.unit)
        return [(self._manager(name), units) for name, units in found.items()]

    def rename(self, name: str, to: str) -> None:
        """Give an instance another name."""
        self._record(name)
        rename_record(self._layout, name, to)

    def rename_if_it_runs(self, name: str, to: str) -> None:
        """Give it another name; whatever it does, that is possible."""
        self.rename(name, to)

    def limit(self, name: str, pids: int) -> None:
        """Limit the number of its processes as it runs."""
        found = self._record(name)
        self._managers[found.manager].limit(found.process.unit, pids)

    def sweep(self, stack: str) -> None:
        """Nothing is made beside the instances."""

    def retire_networks(self, release: Release) -> list[str]:
        """There are no networks."""
        return []

    # -- commands -------------------------------------------------------------------------

    def within(
        self,
        name: str,
        command: Sequence[str],
        beside: Surroundings = AS_IT_IS,
        *,
        interactive: bool = False,
        terminal: bool = False,
    ) -> list[str]:
        """Return the command line that runs ``command`` in what a running process sees."""
        found = self._record(name)
        unit = found.process.unit
        look = self._managers[found.manager].look([unit]).get(unit)
        if look is None or not look.pid:
            raise RuntimeFault(f"{name} does not run")
        variables = variables_of(self._layout, found.process)
        return entered(found.process, look.pid, command, variables, beside)

    def apart(
        self,
        release: Release,
        unit: Unit,
        command: Sequence[str],
        beside: Surroundings = AS_IT_IS,
        *,
        terminal: bool = False,
    ) -> list[str]:
        """Return the command line that runs ``command`` in a throw-away process like the unit's.

        It may be asked for before anything of the release is installed, and has the surroundings
        of the process in a file: arguments are read by everybody.
        """
        process = _processes(release)[unit.keys[min(unit.keys)]]
        uid, _, gid = process.user.partition(":")
        ensure_account(int(uid), int(gid), process.groups)
        brought = {target: name for name, target in release.manifest.install.items()}
        mounts = (
            replace(mount, source=str(release.path / brought[mount.source]))
            if mount.source in brought
            else mount
            for mount in process.mounts
        )
        name = f"{process.unit.replace('@', '-')}-apart-{secrets.token_hex(4)}"
        copy = replace(process, unit=name, command=tuple(command), mounts=tuple(mounts))
        path = self._layout.run / "launch" / f"{name}.json"
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomically(path, json.dumps(asdict(copy)) + "\n", 0o600)
        return [
            "/usr/bin/env", f"PYTHONPATH={LIBRARY}", sys.executable, "-P", "-m", "moorage.launch",
            "--once", str(path),
        ]  # fmt: skip

    def output(self, argv: Sequence[str], *, timeout_seconds: float) -> str:
        """Run a command line that `within` or `apart` gave, and return what it prints."""
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_seconds,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as trouble:
            raise RuntimeFault(f"`{shlex.join(argv)}` failed: {trouble}") from None
        if done.returncode != 0:
            raise RuntimeFault(done.stderr.strip() or done.stdout.strip() or f"{done.returncode}")
        return done.stdout

    def by_hand(self, verb: str, name: str) -> list[str]:
        """Return the command line by which a person does so: start, stop or restart."""
        found = self._record(name)
        return self._managers[found.manager].by_hand(verb, found.process.unit)

    def follow(self, name: str, lines: int, times: bool) -> list[str]:
        """Return the command line that prints its output as it is written."""
        found = self._record(name)
        return self._managers[found.manager].follow(found.process.unit, lines, times)

    def refuse(self, release: Release) -> None:
        """Units were rendered for this host: nobody else reads them."""

    # -- environments ---------------------------------------------------------------------

    def missing(self, refs: Sequence[str]) -> list[str]:
        """Return those of ``refs`` that this host does not hold."""
        return environments.missing(self._layout, refs)

    def digests(self, refs: Sequence[str]) -> dict[str, str]:
        """Return the content digests of what this host holds, by reference."""
        return environments.digests(self._layout, refs)

    def prune(self, stack: str, keep: Collection[str]) -> list[str]:
        """Remove the stack's environments, but for ``keep`` and what is in use."""
        used = {found.image for found in self._records().values()}
        return environments.prune(self._layout, keep, used)


def _processes(release: Release) -> dict[str, Process]:
    found = read_part(release, PROCESSES, dict[str, Process])
    return {key: make(Process, entry) for key, entry in found.items()}


def _instance(name: str, found: Record, look: Look | None, health: Mapping[str, Any]) -> Instance:
    process = found.process
    if not found.started and look and look.state not in ("running", "restarting"):
        # Only somebody on the host has it run that was made and not started.
        look = None
    state = look.state if look else ("created" if not found.started else "exited")
    seen = health.get(process.unit)
    told = seen if isinstance(seen, dict) and look and seen.get("pid") == look.pid else {}
    look = look or Look(state)
    return Instance(
        id=process.unit,
        name=name,
        service=found.service,
        image=found.image,
        state=state,
        health=(look.health or str(told.get("health", "starting"))) if process.check else "none",
        exit_code=look.exit_code,
        pid=look.pid,
        started_at=look.started_at,
        restarts=look.restarts,
        policy=process.restart,
        config=found.config,
        slot=found.slot,
        replica=found.replica,
        published=tuple(Published(p.target, p.address, p.port) for p in found.ports),
        out_of_memory=look.out_of_memory,
        finished_at=look.finished_at,
        health_log=look.health_log or tuple(str(line) for line in told.get("log", ())),
        pids_limit=process.pids or DEFAULT_PIDS,
        refused=look.refused,
        writes=found.writes,
        stop_seconds=process.stop_seconds,
        reads=found.reads,
        kind="process",
    )
