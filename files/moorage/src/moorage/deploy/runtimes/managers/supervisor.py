"""Debian's Supervisor as the manager of a host's processes, by XML-RPC over its Unix socket.

Its configuration says nothing of a release: each program is the launcher with the file of its
process, which is written here. So a release changes no program, and no group, whose change would
restart all of it.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from moorage.common.files import write_atomically
from moorage.common.readers import Damaged, read_bytes, read_object
from moorage.common.shape import make
from moorage.deploy.release import Release
from moorage.deploy.runtimes.managers.base import Look, RuntimeFault
from moorage.deploy.runtimes.managers.launched import (
    file_of,
    is_launching,
    kill_rest,
    lacked_memory,
    limit,
)
from moorage.deploy.runtimes.managers.supervisor_texts import last_exit, others, with_used
from moorage.launch.pace import pace_path, read_pace
from moorage.release.layout import Layout
from moorage.release.names import LIBRARY
from moorage.release.native import GIVEN_UP, SUPERVISOR_PROGRAMS, Process

SOCKET = Path("/run/supervisor.sock")
CONFIGURATION = Path("/etc/supervisor/conf.d")
_SECONDS = 30.0
_MARGIN_SECONDS = 60.0
_POLL_SECONDS = 0.05
# States of Supervisor's programs, and its faults; source: supervisor/states.py, xmlrpc.py.
_STOPPED, _BACKOFF, _EXITED, _FATAL = 0, 30, 100, 200
_NO_SUCH, _STARTED, _STOPPED_ALREADY = 10, 60, 70
_FAILED_TO_START = (40, 50)
# As the engine has it.
_KILLED, _TERMINATED = 128 + signal.SIGKILL, 128 + signal.SIGTERM
_TAIL = 1 << 18


class Supervisor:
    """Manages processes as programs of the group that is called as the stack; see `Manager`."""

    def __init__(self, layout: Layout, path: Path = SOCKET) -> None:
        """Manage the stack of a layout; nothing is asked yet."""
        self._layout = layout
        self._directory = layout.processes
        self._socket = path
        self._group = layout.stack
        # What its group was made of, which Supervisor does not tell.
        self._applied = self._directory / "applied.conf"
        # How what runs has ended before, by unit: its process, and the code.
        self._ends: dict[str, tuple[int, int]] = {}

    # -- what it knows --------------------------------------------------------------------

    def install(self, release: Release, processes: Mapping[str, Process]) -> None:
        """Write the processes' files, and have the group have their programs."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for process in processes.values():
            write_atomically(self._file(process.unit), file_of(process), 0o600)
        units = {process.unit for process in processes.values()}
        content = read_bytes(release.path / SUPERVISOR_PROGRAMS)
        if content is None:
            raise RuntimeFault(f"release {release.id} has no {SUPERVISOR_PROGRAMS}")
        path = CONFIGURATION / f"{self._group}.conf"
        if read_bytes(path) != content:
            write_atomically(path, content)
        known, before = self._programs(), read_bytes(self._applied) or b""
        if before == content and units <= known.keys():
            return
        added, changed, _ = self._ask("reloadConfig")[0]
        if self._group in added:
            self._ask("addProcessGroup", self._group)
        elif self._group in changed and (units - known.keys() or others(before, content)):
            # Of the release before, too: that goes on until this one takes over, or for good.
            used = [name for name in known if self._file(name).exists()]
            write_atomically(path, with_used(content, before, used))
            self._ask("reloadConfig")
            self._replace(known)
            write_atomically(path, content)
        missing = sorted(units - self._programs().keys())
        if missing:
            raise RuntimeFault(f"Supervisor has no program {missing[0]}: see {path}")
        write_atomically(self._applied, content)

    def _replace(self, known: Mapping[str, Mapping[str, Any]]) -> None:
        """Have Supervisor take another form of the group: it can while nothing of it runs."""
        running = [unit for unit, found in known.items() if found["pid"]]
        graces = [p.stop_seconds for p in map(self._process, running) if p is not None]
        self.stop(running, timeout_seconds=max(graces, default=0.0) + _MARGIN_SECONDS)
        self._ask("removeProcessGroup", self._group)
        self._ask("addProcessGroup", self._group)
        self._begin([unit for unit in running if unit in self._programs()], _MARGIN_SECONDS)

    def remove(self, units: Sequence[str]) -> None:
        """Kill what runs of them and take their files away; the group goes with the last one."""
        with suppress(RuntimeFault):
            self._each("stopProcess", units, (_NO_SUCH, _STOPPED_ALREADY))
        kill_rest(units)
        for unit in units:
            for path in (self._file(unit), self._mark(unit), pace_path(self._file(unit))):
                path.unlink(missing_ok=True)
        known = self._programs()
        if not any(self._file(unit).exists() for unit in known):
            self._until(lambda: not any(p["pid"] for p in self._programs().values()), _SECONDS)
            if known:
                self._ask("removeProcessGroup", self._group)
            self._applied.unlink(missing_ok=True)
            (CONFIGURATION / f"{self._group}.conf").unlink(missing_ok=True)

    def settle(self) -> None:
        """Nothing: what was installed and removed holds at once."""

    def _programs(self) -> dict[str, dict[str, Any]]:
        found = self._ask("getAllProcessInfo")
        return {entry["name"]: entry for entry in found if entry["group"] == self._group}

    def _file(self, unit: str) -> Path:
        return self._directory / f"{unit}.json"

    def _mark(self, unit: str) -> Path:
        """There while a program is to start with the host: Supervisor would start a stopped one."""
        return self._directory / f"{unit}.start"

    def _process(self, unit: str) -> Process | None:
        try:
            found = read_object(self._file(unit))
            return make(Process, found) if found else None
        except (Damaged, ValueError):
            return None

    # -- looking --------------------------------------------------------------------------

    def look(self, units: Collection[str]) -> dict[str, Look]:
        """Say how each of them is that Supervisor knows."""
        known = self._programs() if units else {}
        return {unit: self._look(unit, known[unit]) for unit in units if unit in known}

    def _look(self, unit: str, found: Mapping[str, Any]) -> Look:
        pace, state, pid = read_pace(pace_path(self._file(unit))), found["state"], found["pid"]
        said = Look("running", restarts=pace.restarts, started_at=_moment(found["start"]))
        if pid:
            if pid == pace.pid and time.time() < pace.until:
                code = self._last_exit(unit)
                memory = code == _KILLED and lacked_memory(unit)
                return replace(said, state="restarting", exit_code=code, out_of_memory=memory)
            # Until it is the program, there is nothing in which anything could run.
            if is_launching(pid):
                return replace(said, exit_code=self._last_exit(unit))
            if self._ends.get(unit, (0, 0))[0] != pid:
                self._ends[unit] = (pid, self._last_exit(unit))
            return replace(said, pid=pid, exit_code=self._ends[unit][1])
        refused = {_FATAL: found["spawnerr"], _EXITED: pace.refused}.get(state, "")
        code = found["exitstatus"]
        if code < 0:
            code = _TERMINATED if state == _STOPPED else _KILLED
        if state == _EXITED and pace.refused:
            code = self._last_exit(unit) or code
        soon = state == _EXITED and not pace.refused and self._starts_again(unit, code)
        again = state == _BACKOFF or soon
        return replace(
            said,
            state="restarting" if again else "dead" if refused else "exited",
            exit_code=code,
            finished_at=_moment(found["stop"]),
            out_of_memory=code == _KILLED and lacked_memory(unit),
            refused="" if state == _BACKOFF else refused,
        )

    def _starts_again(self, unit: str, code: int) -> bool:
        """Tell whether Supervisor is about to start what has ended: see the programs' template."""
        process = self._process(unit)
        if process is None or process.restart == "no" or code == GIVEN_UP:
            return False
        return bool(code) or process.restart != "on-failure"

    def _last_exit(self, unit: str) -> int:
        """Return how a program has ended that is to start again, or will no more.

        What runs in its place by now is the launcher; Supervisor tells of the program in its log.
        """
        try:
            return last_exit(self._ask("readLog", -_TAIL, 0), unit)
        except RuntimeFault:
            return 0

    # -- starting and stopping ------------------------------------------------------------

    def start(self, units: Sequence[str], *, timeout_seconds: float) -> None:
        """Start them, and with the host."""
        for unit in units:
            self._mark(unit).touch()
        self._begin(units, timeout_seconds)

    def _begin(self, units: Sequence[str], timeout_seconds: float) -> None:
        for unit in units:
            pace_path(self._file(unit)).unlink(missing_ok=True)
        # One that fails is no failure of this: the gate looks at what became of it.
        self._each("startProcess", units, (_STARTED, *_FAILED_TO_START))
        self._until(lambda: not any(self._starts(p) for p in self._of(units)), timeout_seconds)

    def _starts(self, found: Mapping[str, Any]) -> bool:
        look = self._look(found["name"], found)
        return look.state == "running" and not look.pid

    def stop(self, units: Sequence[str], *, timeout_seconds: float) -> None:
        """Stop them side by side, each with its own grace, and whatever they leave behind."""
        self._each("stopProcess", units, (_NO_SUCH, _STOPPED_ALREADY))
        self._until(lambda: not any(found["pid"] for found in self._of(units)), timeout_seconds)
        kill_rest(units)

    def restart(self, unit: str, *, timeout_seconds: float) -> None:
        """Stop it with its grace, and start it."""
        self.stop([unit], timeout_seconds=timeout_seconds)
        self._begin([unit], timeout_seconds)

    def hold(self, units: Sequence[str]) -> None:
        """Have those that somebody has stopped stay so over a boot."""
        for unit in units:
            self._mark(unit).unlink(missing_ok=True)

    def wake(self, *, timeout_seconds: float) -> None:
        """Start what is to start with the host, of which Supervisor has started none yet.

        What others wait for to end has ended before, and does so no second time.
        """
        self._until(self._answers, timeout_seconds)
        known = self._programs()
        marked = {path.stem for path in self._directory.glob("*.start")}
        due = [u for u in sorted(marked) if u in known and not known[u]["start"]]
        processes = {unit: process for unit in due if (process := self._process(unit))}
        needs = {unit: p.after for unit, p in processes.items() if not p.one_off}
        for unit in _in_order(list(needs), needs):
            self._each("startProcess", [unit], (_STARTED, *_FAILED_TO_START))

    def forgive(self, units: Sequence[str]) -> None:
        """Nothing: a good run begins anew by itself."""

    def limit(self, unit: str, pids: int) -> None:
        """Limit the number of its processes as it runs."""
        limit(unit, pids)

    def _of(self, units: Iterable[str]) -> list[dict[str, Any]]:
        known = self._programs()
        return [known[unit] for unit in units if unit in known]

    def _each(self, method: str, units: Iterable[str], passed: Sequence[int]) -> None:
        for unit in units:
            self._ask(method, f"{self._group}:{unit}", False, passed=passed)

    def _until(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise RuntimeFault(f"Supervisor was not done within {seconds:g} s")
            time.sleep(_POLL_SECONDS)

    # -- output and commands --------------------------------------------------------------

    def logs(self, unit: str, lines: int, times: bool) -> list[str]:
        """Return the last lines of its file, in which there are no times."""
        try:
            with self._log(unit).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                text = file.read().decode(errors="replace")
        except (RuntimeFault, OSError) as trouble:
            return str(trouble).splitlines()
        return text.splitlines()[-lines:] if lines else []

    def _log(self, unit: str) -> Path:
        known = self._programs()
        if unit not in known:
            raise RuntimeFault(f"Supervisor has no program {unit}")
        return Path(known[unit]["logfile"])

    def follow(self, unit: str, lines: int, times: bool) -> list[str]:
        """Return the command line that follows its file, rotated or not."""
        return [
            "/usr/bin/env", f"PYTHONPATH={LIBRARY}", sys.executable, "-P", "-m",
            "moorage.watch.follow", str(lines), str(self._log(unit)),
        ]  # fmt: skip

    def by_hand(self, verb: str, unit: str) -> list[str]:
        """Return what a person would say."""
        return ["supervisorctl", verb, f"{self._group}:{unit}"]

    # -- asking ---------------------------------------------------------------------------

    def _answers(self) -> bool:
        try:
            self._ask("getState")
        except RuntimeFault:
            return False
        return True

    def _ask(self, method: str, *values: Any, passed: Sequence[int] = ()) -> Any:
        """Return what a method of Supervisor's answers, None for a fault that is ``passed``."""
        proxy = xmlrpc.client.ServerProxy("http://supervisor/RPC2", transport=_Unix(self._socket))
        try:
            with proxy:
                return getattr(proxy.supervisor, method)(*values)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode in passed:
                return None
            words = " ".join([method, *map(str, values)])
            raise RuntimeFault(f"Supervisor refuses {words}: {fault.faultString}") from None
        except _UNANSWERED as trouble:
            why = getattr(trouble, "strerror", None) or trouble
            advice = "`systemctl status supervisor` says why"
            raise RuntimeFault(
                f"Supervisor does not answer at {self._socket}: {why}; {advice}"
            ) from None


# One that is killed breaks off within its answer.
_UNANSWERED = (OSError, HTTPException, xmlrpc.client.Error, ExpatError)


class _Connection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("supervisor", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _Unix(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> HTTPConnection:
        return _Connection(self._path)


def _in_order(units: Sequence[str], needs: Mapping[str, Collection[str]]) -> list[str]:
    """The units, each after those of them that it needs."""
    done: dict[str, None] = {}

    def add(unit: str, above: frozenset[str]) -> None:
        for need in needs.get(unit, ()):
            if need in needs and need not in above:
                add(need, above | {unit})
        done[unit] = None

    for unit in units:
        add(unit, frozenset())
    return list(done)


def _moment(seconds: int) -> str:
    """Return a moment of Unix seconds as RFC 3339 has it, empty for none."""
    if not seconds:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.0Z")
