"""Our own supervisor as the manager of a stack's processes: one systemd service for all of them.

What it is told lies below /opt/STACK/processes: a file for each process, which the launcher reads,
and supervisor.json, made of them, which also says who starts with it.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from moorage.common.files import write_atomically
from moorage.common.readers import Damaged, read_bytes, read_note, read_object
from moorage.common.shape import make
from moorage.deploy.release import Release, remove_runtime
from moorage.deploy.runtimes.entering import entered
from moorage.deploy.runtimes.managers.base import Look, RuntimeFault
from moorage.deploy.runtimes.managers.launched import (
    file_of,
    is_launching,
    kill_rest,
    lacked_memory,
    limit,
)
from moorage.deploy.runtimes.managers.systemd import UNIT_DIRECTORY, systemctl
from moorage.release.layout import DEFAULT_LOG, Layout
from moorage.release.names import SUPERVISOR
from moorage.release.native import SUPERVISOR_UNIT, Check, Process
from process_supervisor.control.client import Client, ControlError

STATE = Path("/var/lib/moorage/supervisor")
LOGS = DEFAULT_LOG / "processes"
LAUNCH = ("/usr/bin/python3", "-P", "-m", "moorage.launch")
_WHO = "moorage"
_CALL_SECONDS, _ANSWER_SECONDS, _POLL_SECONDS = 10.0, 30.0, 0.05
# As the engine has it.
_SIGNALLED, _KILLED, _UNKNOWN = 128, 137, 255
_STATES = {
    "RUNNING": "running",
    "STOPPING": "running",
    "STARTING": "restarting",
    "BACKOFF": "restarting",
    "FATAL": "dead",
}
# Until it is the program, there is nothing that a check could enter; the launcher is root's.
_LAUNCHED = '! grep -q "^Uid:.0[^0-9]" "/proc/$PROCESS_SUPERVISOR_PID/status"'
_RESTARTS = {"no": "never", "on-failure": "on-failure"}

Answer = TypeVar("Answer")


class Own:
    """Manages the processes of one stack by a supervisor of its own; see `Manager`."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._client = Client(str(layout.supervisor / "control.sock"), timeout=_CALL_SECONDS)
        self._unit = f"moorage-supervisor-{layout.stack}.service"

    # -- what there is --------------------------------------------------------------------

    def install(self, release: Release, processes: Mapping[str, Process]) -> None:
        """Have the supervisor know these processes, and run it."""
        self._layout.processes.mkdir(mode=0o700, exist_ok=True)
        for process in processes.values():
            write_atomically(self._file(process.unit), file_of(process), 0o600)
        known, wanted = self._known(), self._wanted()
        self._write(known, wanted - {self._name(process.unit) for process in processes.values()})
        self._bring_up(release)
        self._reload()

    def _bring_up(self, release: Release) -> None:
        content = read_bytes(release.path / SUPERVISOR_UNIT)
        if content is None:
            raise RuntimeFault(f"release {release.id} has no {SUPERVISOR_UNIT}")
        path = UNIT_DIRECTORY / self._unit
        if read_bytes(path) != content:
            # Not started anew: that would end all processes.
            write_atomically(path, content)
            systemctl("daemon-reload")
            systemctl("enable", "--quiet", self._unit)
        systemctl("start", self._unit)

    def remove(self, units: Sequence[str]) -> None:
        """Have the supervisor know them no more, and kill what runs of them."""
        gone = {self._name(unit) for unit in units}
        for unit in units:
            self._file(unit).unlink(missing_ok=True)
        known = self._known()
        self._write(known, self._wanted())
        if not self._is_down():
            self._reload()
            self._kill(gone)
        kill_rest(units)
        if not known:
            self._take_down()

    def settle(self) -> None:
        """Nothing: what was installed and removed holds at once."""

    def _kill(self, names: Collection[str]) -> None:
        deadline = time.monotonic() + _ANSWER_SECONDS
        while there := names & self._statuses().keys():
            for name in there:
                with suppress(ControlError):
                    self._client.signal(name, "KILL", who=_WHO)
            if time.monotonic() > deadline:
                raise RuntimeFault(f"{', '.join(sorted(there))} cannot be killed")
            time.sleep(_POLL_SECONDS)

    def _take_down(self) -> None:
        path = UNIT_DIRECTORY / self._unit
        if path.exists():
            systemctl("disable", "--now", "--quiet", self._unit)
            path.unlink()
            systemctl("daemon-reload")
        (self._layout.processes / SUPERVISOR).unlink(missing_ok=True)
        # Kept over its restarts.
        for directory in (self._layout.supervisor, STATE / self._layout.stack):
            remove_runtime(directory)

    # -- what runs ------------------------------------------------------------------------

    def look(self, units: Collection[str]) -> dict[str, Look]:
        """Say how each of them is that the supervisor knows."""
        if not units or self._is_down():
            return {}
        found = self._statuses()
        named = {unit: found.get(self._name(unit)) for unit in units}
        return {unit: _look(unit, status) for unit, status in named.items() if status is not None}

    def start(self, units: Sequence[str], *, timeout_seconds: float) -> None:
        """Start them, and with the supervisor at every boot."""
        self._begin(self._client.start, units, timeout_seconds)

    def stop(self, units: Sequence[str], *, timeout_seconds: float) -> None:
        """Stop them side by side, each with its own grace; they stay so over a boot."""
        if self._is_down():
            self._write(self._known(), self._wanted() - {self._name(unit) for unit in units})
        else:
            self._stop(units, timeout_seconds)
        # The supervisor does not find what has detached itself below one that was killed.
        kill_rest(units)

    def _stop(self, units: Sequence[str], timeout_seconds: float) -> None:
        self._want(units, False)
        for unit in units:
            self._act(self._client.stop, unit, 0.0)
        names, deadline = {self._name(unit) for unit in units}, time.monotonic() + timeout_seconds
        while ending := names & _ending(self._statuses()):
            if time.monotonic() > deadline:
                raise RuntimeFault(
                    f"{', '.join(sorted(ending))} did not end within {timeout_seconds:g} s"
                )
            time.sleep(_POLL_SECONDS)

    def restart(self, unit: str, *, timeout_seconds: float) -> None:
        """Stop it with its grace, and start it."""
        self._begin(self._client.restart, [unit], timeout_seconds)

    def _begin(self, verb: Callable[..., Any], units: Sequence[str], seconds: float) -> None:
        if self._is_down():
            systemctl("start", self._unit)
        for unit in units:
            self._act(verb, unit, seconds)
        # Afterwards: it would start them for that, and what ended at once would be started twice.
        self._want(units, True)
        self._launched(units, seconds)

    def _launched(self, units: Collection[str], seconds: float) -> None:
        """Wait until each is its program, or has ended; the gate looks at what became of it."""
        names, deadline = {self._name(unit) for unit in units}, time.monotonic() + seconds
        while time.monotonic() < deadline:
            pids = [s["pid"] for name, s in self._statuses().items() if name in names and s["pid"]]
            if not any(map(is_launching, pids)):
                return
            time.sleep(_POLL_SECONDS)

    def hold(self, units: Sequence[str]) -> None:
        """The supervisor remembers stops by itself."""

    def forgive(self, units: Sequence[str]) -> None:
        """Nothing: a good run begins anew by itself."""

    def limit(self, unit: str, pids: int) -> None:
        """Limit the number of its processes as it runs."""
        limit(unit, pids)

    def logs(self, unit: str, lines: int, times: bool) -> list[str]:
        """Return the last lines of its log, in which no moments are."""
        try:
            found = self._ask(lambda: self._client.logs(self._name(unit), lines=lines))
        except RuntimeFault as trouble:
            return str(trouble).splitlines()
        return [f"- {line}" if times else line for line in found]

    def follow(self, unit: str, lines: int, times: bool) -> list[str]:
        """Return the command line that follows its log over rotations."""
        return ["/usr/bin/tail", f"--lines={lines}", "--follow=name", "--retry", self._log(unit)]

    def by_hand(self, verb: str, unit: str) -> list[str]:
        """Return what a person would say."""
        return ["moorage", verb, self._layout.stack, self._name(unit).rpartition("-")[0]]

    # -- the supervisor -------------------------------------------------------------------

    def _act(self, verb: Callable[..., Any], unit: str, wait: float) -> None:
        def act() -> None:
            try:
                verb(self._name(unit), who=_WHO, wait=wait)
            except ControlError as trouble:
                # It goes on; who wants to know what becomes of it looks.
                if trouble.code != "timeout":
                    raise

        self._ask(act)

    def _ask(self, do: Callable[[], Answer]) -> Answer:
        """Ask the supervisor, for which it takes a moment to come back when it was killed."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            try:
                return do()
            except ControlError as trouble:
                late = time.monotonic() > deadline
                if trouble.code == "unreachable" and self._entries() is None:
                    # It cannot start from that, and whoever was killed has read it before.
                    self._write(self._known(), self._wanted())
                if trouble.code != "unreachable" or late or self._is_down():
                    advice = f"; look at `systemctl status {self._unit}`" if late else ""
                    raise RuntimeFault(f"{self._unit}: {trouble}{advice}") from None
                time.sleep(_POLL_SECONDS)

    def _is_down(self) -> bool:
        """Tell whether somebody has stopped the supervisor, and with it all processes."""
        try:
            self._client.info()
        except ControlError as trouble:
            if trouble.code != "unreachable":
                return False
        else:
            return False
        return systemctl("is-active", self._unit, check=False).strip() in ("inactive", "failed")

    def _statuses(self) -> dict[str, dict[str, Any]]:
        return {status["name"]: status for status in self._ask(self._client.status)}

    def _reload(self) -> None:
        self._ask(lambda: self._client.reload(who=_WHO))

    def _want(self, units: Sequence[str], up: bool) -> None:
        """Have them start with the supervisor, or not."""
        names, wanted = {self._name(unit) for unit in units}, self._wanted()
        if (wanted | names if up else wanted - names) != wanted:
            self._write(self._known(), wanted | names if up else wanted - names)
            self._reload()

    # -- its configuration ----------------------------------------------------------------

    def _name(self, unit: str) -> str:
        """Return what the supervisor, which has one stack alone, calls shop-web-1a: web-1a."""
        return unit.removeprefix(f"{self._layout.stack}-")

    def _file(self, unit: str) -> Path:
        return self._layout.processes / f"{unit}.json"

    def _log(self, unit: str) -> str:
        return str(LOGS / self._layout.stack / f"{self._name(unit)}.log")

    def _known(self) -> dict[str, Process]:
        found = {}
        for path in sorted(self._layout.processes.glob(f"{self._layout.stack}-*.json")):
            process = make(Process, _read(path))
            found[self._name(process.unit)] = process
        return found

    def _entries(self) -> list[dict[str, Any]] | None:
        """Return what it is told of processes, None where that is not to be read."""
        return read_note(self._layout.processes / SUPERVISOR).get("processes")

    def _wanted(self) -> set[str]:
        """Who starts with it: all where that is lost, as it keeps by itself who was stopped."""
        entries = self._entries()
        if entries is None:
            return set(self._known())
        return {entry["name"] for entry in entries if entry["autostart"]}

    def _write(self, known: Mapping[str, Process], wanted: Collection[str]) -> None:
        entries = {
            name: self._entry(name, process, name in wanted) for name, process in known.items()
        }
        # At a boot alone: who was stopped, and who may end for good, is waited for by nobody.
        lasting = {name for name, entry in entries.items() if entry["autostart"] and _lasts(entry)}
        for name, process in known.items():
            before = lasting & {self._name(unit) for unit in process.after}
            entries[name]["depends_on"] = dict.fromkeys(sorted(before), "started")
        config = {
            "version": 1,
            "supervisor": {
                "run_dir": str(self._layout.supervisor),
                "state_dir": str(STATE / self._layout.stack),
                "socket_mode": "0600",
            },
            "processes": list(entries.values()),
        }
        path = self._layout.processes / SUPERVISOR
        write_atomically(path, json.dumps(config, indent=2) + "\n", 0o600)

    def _entry(self, name: str, process: Process, wanted: bool) -> dict[str, Any]:
        return {
            "name": name,
            "command": [*LAUNCH, str(self._file(process.unit))],
            # What runs once has done so: its next turn comes with the next release.
            "autostart": wanted and not process.one_off,
            "autorestart": _RESTARTS.get(process.restart, "always"),
            "restart_limit": process.attempts,
            "restart_reset_seconds": process.window,
            "restart_delay": process.delay,
            "restart_delay_max": process.delay_max,
            "stop_signal": process.stop_signal.removeprefix("SIG"),
            "stop_grace": process.stop_seconds,
            "stdout_logfile": self._log(process.unit),
            "stderr_logfile": self._log(process.unit),
            "log_max_bytes": process.log_max_bytes,
            "log_backups": process.log_backups,
            "health_check": process.check and _health_check(process, process.check, self._layout),
        }


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_object(path) or {}
    except Damaged as damage:
        raise RuntimeFault(
            f"{damage}. Remove that file, and deploy the stack again: that makes it anew"
        ) from None


def _lasts(entry: Mapping[str, Any]) -> bool:
    return entry["autorestart"] != "never" and entry["restart_limit"] is None


def _health_check(process: Process, check: Check, layout: Layout) -> dict[str, Any]:
    # As the service's user, in what it sees; its main process is known when the check begins.
    line = shlex.join(entered(process, 0, check.command, layout.variables(process.unit)))
    line = line.replace("--target=0", '--target="$PROCESS_SUPERVISOR_PID"', 1)
    line = f"{_LAUNCHED} && exec {line}"
    command = {"type": "command", "command": ["/bin/sh", "-c", line]}
    return {
        **({"type": "http", "url": check.url} if check.url else command),
        "interval": check.interval,
        "timeout": check.timeout,
        "retries": check.retries,
        "start_period": check.start_period,
        "start_interval": check.start_interval,
        "restart_when_unhealthy": check.restart,
    }


def _ending(statuses: Mapping[str, Mapping[str, Any]]) -> set[str]:
    return {name for name, status in statuses.items() if status["state"] == "STOPPING"}


def _look(unit: str, status: Mapping[str, Any]) -> Look:
    state, pid = _STATES.get(status["state"], "exited"), status["pid"] or 0
    if pid and is_launching(pid):
        state, pid = "restarting", 0
    ended, well = status["exit"] or {}, status["health"]
    reason, code = status["reason"] or "", _exit_code(ended) if state != "running" else 0
    return Look(
        state,
        pid=pid,
        exit_code=code,
        restarts=status["restarts"],
        started_at=_moment(status["started_at"]),
        finished_at=_moment(ended.get("at")) if state != "running" else "",
        out_of_memory=code == _KILLED and lacked_memory(unit),
        refused=reason if state == "dead" else "",
        health="starting" if well == "none" else well,
        health_log=(reason,) if reason and well in ("starting", "unhealthy") else (),
    )


def _exit_code(ended: Mapping[str, Any]) -> int:
    if ended.get("signal"):
        return _SIGNALLED + int(ended["signal"])
    if not ended:
        return 0
    code = ended.get("code")
    return _UNKNOWN if code is None else int(code)


def _moment(seconds: float | None) -> str:
    if not seconds:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
