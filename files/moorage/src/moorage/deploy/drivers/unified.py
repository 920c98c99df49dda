"""The unified topology on a host: one container under our supervisor, data services beside it.

Above 400 lines: all that a rollout asks of a topology is answered in one place, and this one
answers for each process of a container as others do for a container.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from moorage.common.files import write_atomically
from moorage.common.readers import Damaged
from moorage.common.shape import read_shaped
from moorage.deploy.difference import Operation
from moorage.deploy.drivers.base import Driver, Gap
from moorage.deploy.foreign import Foreign, remove_tree
from moorage.deploy.gate import Check
from moorage.deploy.instance import Instance
from moorage.deploy.release import (
    ROTATIONS,
    Release,
    ReleaseError,
    read_part,
    remove_runtime,
)
from moorage.deploy.runtimes.base import AS_IT_IS, RuntimeFault, Surroundings
from moorage.deploy.supervisor import Supervisor
from moorage.release.directory import Processes
from moorage.release.manifest import Edge, Unit, is_of
from moorage.release.names import NEXT, SUPERVISOR, UNIFIED, in_slot
from process_supervisor.config.settings import RESTART_KEYS
from process_supervisor.control.client import Client, ControlError

_WHO = "moorage"
_CONTROL_TIMEOUT_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
# What a stop may take beyond the grace of the process, for what that leaves behind.
_STOP_SECONDS = 60.0
_LOG_LINES = 15
# What a supervisor keeps of what has happened; it begins a new file at a megabyte.
_TRAIL, _TRAIL_BYTES = ("events.jsonl.1", "events.jsonl"), 2**20
# What a supervisor that is still starting looks like from here.
_NOT_YET = ("unreachable", "timeout")
# A running process takes over every other setting as it is.
_RESTARTS = (*RESTART_KEYS, "stdout_logfile", "stderr_logfile")


class UnifiedDriver(Driver):
    """Driver of the unified topology; services beside its one container have one of their own."""

    def held(self, release: Release, containers: Sequence[Instance]) -> list[str]:
        """Return the services that somebody has stopped: by the engine, or by the supervisor."""
        found = super().held(release, [c for c in containers if c.service != UNIFIED])
        own = _own(containers)
        if own is None or own.state != "running":
            return found
        try:
            statuses = self._client(own).status()
        except (ControlError, OSError):
            return found
        by_hand = (p["name"] for p in statuses if p["wanted"] == "down" and p["autostart"])
        return sorted({*found, *by_hand})

    def stale(
        self, release: Release, containers: Mapping[str, Instance], restart: Collection[str]
    ) -> set[str]:
        """Return the container when a process changed that visitors reach through the edge."""
        found = set()
        routed = _routed(release)
        for unit in release.manifest.units:
            old = containers.get(unit.name)
            if unit.service != UNIFIED:
                if unit.service in restart and unit.one_off:
                    found.add(unit.name)
            elif old is not None:
                changed = {*self._changed(release, unit, old, keys=_RESTARTS), *restart}
                if any(is_of(name, service) for name in changed for service in routed):
                    found.add(unit.name)
        return found

    def prepare(
        self, release: Release, unit: Unit, slot: str, old: Instance | None, held: Sequence[str]
    ) -> list[str]:
        """Write the slot's configuration and state; the audit trail goes on from the old one's."""
        if unit.service != UNIFIED:
            return []
        odd = _clear(self.layout.runtime(in_slot(UNIFIED, slot)))
        config = _wanted(release)
        for process in config["processes"]:
            if unit.rolled and process["name"] in unit.singletons:
                process["autostart"] = False
        self._write(unit, slot, config)
        state = self.layout.state(slot)
        stopped = [name for name in held if name in unit.processes]
        return odd + _begin_state(state, self.layout.state(old.slot) if old else None, stopped)

    def checks(self, unit: Unit, container: Instance) -> Sequence[Check]:
        """Look at every process of the unified container; at others through the engine."""
        if container.service != UNIFIED:
            return super().checks(unit, container)
        client = self._client(container)
        try:
            processes = client.status()
        except (ControlError, OSError) as trouble:
            return [self._supervisor(unit, container, trouble)]
        candidate = container.name == unit.next_name
        found = [(_check_process(unit, process, candidate), process) for process in processes]
        return [self._explained(check, process, client, container) for check, process in found]

    def hand_over(
        self,
        release: Release,
        unit: Unit,
        old: Instance | None,
        new: Instance,
        services: Collection[str] | None = None,
    ) -> list[Gap]:
        """Stop the processes that must not run twice, and start them in the new container."""
        config = _wanted(release)
        names = list(unit.singletons)
        if services is not None:
            first = _with_needs(config["processes"], services)
            names = [name for name in names if name in first]
            for process in config["processes"]:
                if process["name"] in unit.singletons and process["name"] not in names:
                    process["autostart"] = False
        before: dict[str, Any] = {}
        if old is not None and old.service == UNIFIED and old.state == "running":
            waits = self._waits(release, unit, old)
            before = self._stop(self._client(old), names, waits)
        self._write(unit, new.slot, config)
        client = self._client(new)
        client.reload(who=_WHO, reason="handed over")
        gaps = []
        for name in names:
            after = client.status(name)
            if before.get(name) and after["started_at"]:
                gaps.append(Gap(name, max(0.0, _seconds(after["started_at"]) - before[name])))
        return gaps

    def take_back(
        self, release: Release, unit: Unit, container: Instance, held: Sequence[str]
    ) -> list[str]:
        """Start again in the old container what was stopped for a hand-over."""
        client = self._answer(container)
        idle = _idle(release, unit, client.status(), held)
        waits = self._waits(release, unit, container)
        for name in idle:
            # It may still be ending the job that it was told to end.
            client.start(name, who=_WHO, reason="a hand-over did not come about", wait=waits[name])
        return idle

    def adapts(
        self,
        release: Release,
        unit: Unit,
        container: Instance,
        restart: Collection[str],
        held: Sequence[str],
    ) -> list[Operation]:
        """Tell what differs, and who has given up; a supervisor that does not answer has nobody."""
        if unit.service != UNIFIED:
            return super().adapts(release, unit, container, restart, held)
        due = set(self._changed(release, unit, container))
        try:
            statuses = self._client(container).status()
        except (ControlError, OSError):
            statuses = []
        for status in statuses:
            name = str(status["name"])
            again = _gave_up(status) or any(is_of(name, service) for service in restart)
            if status["wanted"] == "up" and again:
                due.add(name)
        due.update(_idle(release, unit, statuses, held))
        return [Operation("process to change", name) for name in sorted(due)]

    def adapt(
        self,
        release: Release,
        unit: Unit,
        container: Instance,
        restart: Collection[str],
        held: Sequence[str],
    ) -> list[str]:
        """Have the supervisor change what differs; visitors reach none of it."""
        if unit.service != UNIFIED:
            return super().adapt(release, unit, container, restart, held)
        waits = self._waits(release, unit, container)
        # A hand-over that was cut off between its two halves: nothing else starts them again.
        touched = self.take_back(release, unit, container, held) if unit.singletons else []
        if self._changed(release, unit, container, settings=True):
            self._write(unit, container.slot, _wanted(release))
            result = self._answer(container).reload(who=_WHO, reason=f"release {release.id}")
            found = (n for key in ("added", "removed", "changed") for n in result[key])
            touched += [name for name in found if name not in touched]
            self._ended(container, touched, max(waits.values(), default=0.0))
        client = self._client(container)
        wanted = {p["name"]: p["wanted"] for p in client.status()} if restart else {}
        for name in wanted:
            again = any(is_of(name, service) for service in restart)
            if again and name not in touched and wanted[name] == "up":
                why = "a secret was replaced"
                client.restart(name, who=_WHO, reason=why, wait=waits.get(name, _STOP_SECONDS))
                touched.append(name)
        touched += self._start_again(client, touched)
        return sorted(touched)

    def _start_again(self, client: Client, touched: Collection[str]) -> list[str]:
        """Start what shall run and has given up: who deploys wants it to be tried anew."""
        ended = [
            str(process["name"])
            for process in client.status()
            if process["wanted"] == "up" and process["name"] not in touched and _gave_up(process)
        ]
        for name in ended:
            client.start(name, who=_WHO, reason="it had given up")
        return ended

    def retire(self, release: Release, stays: Release | None = None) -> None:
        """Take away the configuration of processes; the new form has replaced the container."""
        super().retire(release, stays)
        # Releases of older versions do not bring it themselves.
        (ROTATIONS / f"moorage-{self.layout.stack}").unlink(missing_ok=True)
        for slot in ("", "a", "b"):
            remove_runtime(self.layout.runtime(in_slot(UNIFIED, slot)))
            config = self.layout.config / in_slot(UNIFIED, slot)
            if config.is_dir():
                remove_tree(config)

    def surroundings(self, release: Release, unit: Unit, service: str) -> Surroundings:
        """Return what a process of the container has."""
        if not unit.processes:
            return AS_IT_IS
        found = (p for p in _wanted(release)["processes"] if is_of(p["name"], service))
        process: Mapping[str, Any] = next(found, {})
        return Surroundings(
            str(process.get("working_dir") or ""),
            str(process.get("user") or ""),
            process.get("environment") or {},
        )

    def _client(self, container: Instance) -> Supervisor:
        socket = self.layout.runtime(in_slot(UNIFIED, container.slot)) / "control.sock"
        return Supervisor(str(socket), timeout=_CONTROL_TIMEOUT_SECONDS)

    def _answer(self, container: Instance) -> Client:
        """Return a client once the supervisor answers; it may be starting."""
        client, deadline = self._client(container), time.monotonic() + _ANSWER_SECONDS
        while True:
            try:
                client.info()
            except (ControlError, OSError) as trouble:
                if isinstance(trouble, ControlError) and trouble.code not in _NOT_YET:
                    raise
                if time.monotonic() >= deadline:
                    raise ReleaseError(
                        f"the supervisor of {self.layout.stack} did not answer at "
                        f"{client.path}: {trouble}"
                    ) from trouble
                time.sleep(0.05)
            else:
                return client

    def _ended(self, container: Instance, names: Collection[str], seconds: float) -> None:
        """Wait until none of the processes is still ending its last job.

        The gate begins then: how long a job may take says nothing about what comes after it.
        """
        client, deadline = self._client(container), time.monotonic() + seconds
        while time.monotonic() < deadline:
            ending = {p["name"] for p in client.status() if p["state"] == "STOPPING"}
            if not ending & set(names):
                return
            time.sleep(0.05)

    def _waits(self, release: Release, unit: Unit, container: Instance) -> dict[str, float]:
        """Return how long each process may take to end, as it runs and as it will, in seconds."""
        found: dict[str, float] = {}
        for config in (self._installed(unit, container.slot), _wanted(release)):
            for process in config.get("processes", []):
                name, grace = process["name"], float(process.get("stop_grace") or 0.0)
                found[name] = max(found.get(name, 0.0), grace + _STOP_SECONDS)
        return found

    def _stop(
        self, client: Client, names: Sequence[str], waits: Mapping[str, float]
    ) -> dict[str, Any]:
        ended = {}
        status = {p["name"]: p for p in client.status()}
        for name in names:
            if name in status and status[name]["wanted"] == "up":
                client.stop(name, who=_WHO, reason="handed over", wait=waits[name])
                ended[name] = time.time()
        return ended

    def _installed(self, unit: Unit, slot: str) -> dict[str, Any]:
        path = unit.slot_install.get(slot, {}).get(SUPERVISOR)
        try:
            return (read_shaped(Path(path), Processes) if path else None) or {}
        except Damaged:
            # Unknown is other than wanted: it is written anew.
            return {}

    def _changed(
        self,
        release: Release,
        unit: Unit,
        container: Instance,
        settings: bool = False,
        keys: Collection[str] = (),
    ) -> list[str]:
        """Return the names of processes that the release has otherwise than the container.

        With ``settings`` also ``""`` when the supervisor's own differ, or who starts by itself;
        with ``keys`` only those that differ in one of them.
        """
        old, new = self._installed(unit, container.slot), _wanted(release)
        before = {p["name"]: p for p in old.get("processes", [])}
        after = {p["name"]: p for p in new["processes"]}
        names = [
            name
            for name in sorted(before.keys() | after.keys())
            if _of(before.get(name), keys) != _of(after.get(name), keys)
        ]
        return [*names, ""] if settings and old != new else names

    def _write(self, unit: Unit, slot: str, config: Mapping[str, Any]) -> None:
        path = Path(unit.slot_install[slot][SUPERVISOR])
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomically(path, json.dumps(config, indent=2, ensure_ascii=False) + "\n")

    def _supervisor(self, unit: Unit, container: Instance, trouble: Exception) -> Check:
        detail = f"container {container.state}, the supervisor does not answer ({trouble})"
        if container.state in ("exited", "dead"):
            detail = f"container {container.state}, exit code {container.exit_code}"
        if container.out_of_memory:
            detail += ", killed for want of memory"
        ended = container.name == unit.next_name and (
            container.restarts >= 3 or container.state in ("exited", "dead")
        )
        log = self.runtime.logs(container.name, _LOG_LINES)
        return Check(UNIFIED, False, detail, hopeless=ended, log=log)

    def _explained(
        self, found: Check, status: Mapping[str, Any], client: Client, container: Instance
    ) -> Check:
        """Add to a failed check what an ended process said last, and whether memory lacked."""
        ended = status.get("exit") or {}
        if found.ok or found.log or not (ended or status["restarts"]):
            return found
        detail, lines = found.detail, list[str]()
        try:
            killed = ended.get("signal") == signal.SIGKILL and "want of memory" not in detail
            if killed and self.runtime.out_of_memory(container.name):
                detail += ", for want of memory"
            streams = (
                client.logs(found.service, name, _LOG_LINES) for name in ("stderr", "stdout")
            )
            lines = next((said for said in streams if said), [])
        except (ControlError, OSError, RuntimeFault):
            pass  # it went away meanwhile: what was seen until then is said
        return replace(found, detail=detail, log=lines)


def _wanted(release: Release) -> dict[str, Any]:
    return read_part(release, SUPERVISOR, Processes)


def _with_needs(processes: Sequence[Mapping[str, Any]], services: Collection[str]) -> set[str]:
    """Return the processes of services, with all that they wait for."""
    needs = {str(p["name"]): list(p.get("depends_on") or ()) for p in processes}
    found: set[str] = set()
    left = [name for name in needs if any(is_of(name, service) for service in services)]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += needs.get(name, [])
    return found


def _idle(
    release: Release, unit: Unit, statuses: Sequence[Mapping[str, Any]], held: Collection[str]
) -> list[str]:
    """Return what was stopped for a hand-over and has not been started anywhere since."""
    runs = {p["name"] for p in _wanted(release)["processes"] if p.get("autostart", True)}
    down = [str(status["name"]) for status in statuses if status["wanted"] == "down"]
    return [n for n in down if n in unit.singletons and n in runs and n not in held]


def _of(process: Mapping[str, Any] | None, keys: Collection[str]) -> dict[str, Any] | None:
    if process is None:
        return None
    return {k: v for k, v in process.items() if k != "autostart" and (not keys or k in keys)}


def _own(containers: Sequence[Instance]) -> Instance | None:
    named = [c for c in containers if c.service == UNIFIED]
    return next((c for c in named if not c.name.endswith(NEXT)), None)


def _routed(release: Release) -> set[str]:
    return {pool.service for pool in (release.manifest.edge or Edge()).pools.values()}


def _clear(directory: Path) -> list[str]:
    """Take away sockets and pipes of the slot's last container; the directory is mounted."""
    if not directory.is_dir():
        return []
    with Foreign(directory) as there:
        odd = there.odd(usual=("a socket", "a pipe", "a directory"))
        there.clear()
    return odd


def _begin_state(directory: Path, old: Path | None, stopped: Sequence[str]) -> list[str]:
    """Let a slot begin as the other one is: who is stopped, and what has happened so far."""
    directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    trail: dict[str, bytes | None] = {}
    odd: list[str] = []
    if old is not None and old.is_dir():
        with Foreign(old) as before:
            trail = {name: before.read_tail(name, _TRAIL_BYTES) for name in _TRAIL}
            odd = before.odd()
    with Foreign(directory) as state:
        if old != directory:
            odd += state.odd()
        state.clear()
        for name, content in trail.items():
            if content is not None:
                state.write(name, content)
        intents = json.dumps({"version": 1, "stopped": sorted(stopped)}) + "\n"
        state.write("intents.json", intents.encode(), 0o644)
    return odd


def _seconds(moment: float | str) -> float:
    try:
        return datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else moment
    except (ValueError, OverflowError):
        return time.time()


def _gave_up(status: Mapping[str, Any]) -> bool:
    ended = status.get("exit") or {}
    failed = status["state"] == "EXITED" and ended.get("code") != 0
    # What is started on demand is a person's to try anew.
    return bool(status["autostart"]) and (failed or status["state"] == "FATAL")


def _check_process(unit: Unit, status: Mapping[str, Any], candidate: bool) -> Check:
    name, state, health = str(status["name"]), status["state"], status["health"]
    # One that is to take over and has ended already would end again.
    failed = bool(candidate and status["restarts"])
    if status["wanted"] == "down" and state in ("STOPPED", "EXITED"):
        waits = name in unit.singletons
        return Check(name, True, f"{state}: " + ("not twice" if waits else "stopped by somebody"))
    on_demand = not status["autostart"] and name not in unit.singletons
    if on_demand and state in ("STOPPED", "EXITED", "FATAL"):
        return Check(name, True, f"{state}: on demand")
    if state == "RUNNING" and health in ("none", "healthy") and not failed:
        return Check(name, True, "RUNNING" if health == "none" else f"RUNNING, {health}")
    ended = status.get("exit") or {}
    if state == "EXITED" and ended.get("code") == 0:
        return Check(name, True, "EXITED with 0: done")
    detail = f"{state}, health {health}"
    if status["restarts"]:
        detail += f", restarted {status['restarts']} times"
    if status.get("reason"):
        detail += f": {status['reason']}"
    elif ended:
        detail += f": last exit {json.dumps(ended)}"
    hopeless = _gave_up(status) or (candidate and status["restarts"] >= 3)
    return Check(name, False, detail, hopeless, tuple(status.get("log_tail") or ()))
