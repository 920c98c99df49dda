"""systemd as the manager of a host's processes, by its command line: it needs no D-Bus library."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from moorage.common.files import write_atomically
from moorage.common.readers import read_bytes
from moorage.deploy.release import Release
from moorage.deploy.runtimes.managers.base import Look, RuntimeFault, timed
from moorage.release.native import Process, unit_file

UNIT_DIRECTORY = Path("/etc/systemd/system")
_SECONDS = 90.0
_SHOWN = (
    "Id", "LoadState", "ActiveState", "SubState", "Result", "MainPID", "NRestarts",
    "ExecMainCode", "ExecMainStatus", "ExecMainStartTimestamp", "ExecMainExitTimestamp",
    "ExecMainExitTimestampMonotonic", "InactiveExitTimestampMonotonic", "UnitFileState",
)  # fmt: skip
# CLD_KILLED and CLD_DUMPED of sigaction(2): the status is a signal's number then.
_BY_SIGNAL = ("2", "3")
# As the engine has it.
_SIGNALLED, _TERMINATED = 128, 143


class Systemd:
    """Manages processes as systemd units; see `Manager`."""

    def __init__(self) -> None:
        # systemd reads all of its units anew, which takes it long: once for several changes.
        self._changed = False

    def install(self, release: Release, processes: Mapping[str, Process]) -> None:
        """Write the units of these keys, as the release has them."""
        self._changed = True
        for key, process in processes.items():
            content = read_bytes(release.path / unit_file(key))
            if content is None:
                raise RuntimeFault(f"release {release.id} has no {unit_file(key)}")
            write_atomically(_path(process.unit), content)

    def remove(self, units: Sequence[str]) -> None:
        """Kill what runs of them and take their files away."""
        there = [unit for unit in units if _path(unit).exists()]
        if not there:
            return
        names = [f"{unit}.service" for unit in there]
        systemctl("kill", "--signal=SIGKILL", *names, check=False)
        self._changed = True
        systemctl("disable", "--no-reload", "--now", "--quiet", *names)
        for unit in there:
            _path(unit).unlink(missing_ok=True)
        systemctl("reset-failed", *names, check=False)

    def settle(self) -> None:
        """Have systemd read its units anew."""
        if self._changed:
            systemctl("daemon-reload")
            self._changed = False

    def look(self, units: Collection[str]) -> dict[str, Look]:
        """Say how each of them is that systemd knows."""
        if not units:
            return {}
        names = [f"{unit}.service" for unit in units]
        text = systemctl("show", "--timestamp=unix", "--property", ",".join(_SHOWN), *names)
        found = {}
        for block in text.strip().split("\n\n"):
            values = dict(line.partition("=")[::2] for line in block.splitlines())
            if values.get("LoadState") == "loaded":
                found[values["Id"].removesuffix(".service")] = _look(values)
        return found

    def start(self, units: Sequence[str], *, timeout_seconds: float) -> None:
        """Start them, and at every boot."""
        names = [f"{unit}.service" for unit in units]
        # It reads its units anew at that, those that were installed or removed before, too.
        systemctl("enable", "--quiet", *names)
        self._changed = False
        systemctl("reset-failed", *names, check=False)
        # One that ends at once is no failure of this command: the gate looks at what became of it.
        systemctl("start", *names, check=False, timeout_seconds=timeout_seconds)

    def stop(self, units: Sequence[str], *, timeout_seconds: float) -> None:
        """Stop them side by side, each with its own grace."""
        systemctl("stop", *(f"{unit}.service" for unit in units), timeout_seconds=timeout_seconds)

    def restart(self, unit: str, *, timeout_seconds: float) -> None:
        """Stop it with its grace, and start it."""
        systemctl("reset-failed", f"{unit}.service", check=False)
        systemctl("restart", f"{unit}.service", check=False, timeout_seconds=timeout_seconds)

    def hold(self, units: Sequence[str]) -> None:
        """Have those that somebody has stopped stay so over a boot."""
        systemctl("disable", "--quiet", *(f"{unit}.service" for unit in units))

    def forgive(self, units: Sequence[str]) -> None:
        """Have it count restarts from nothing: by itself it never does while a unit runs."""
        systemctl("reset-failed", *(f"{unit}.service" for unit in units))

    def limit(self, unit: str, pids: int) -> None:
        """Limit the number of its processes as it runs."""
        systemctl("set-property", "--runtime", f"{unit}.service", f"TasksMax={pids}")

    def logs(self, unit: str, lines: int, times: bool) -> list[str]:
        """Return the last lines of its journal."""
        try:
            text = _run([*_journal(unit, lines, times), "--no-pager"], _SECONDS)
        except RuntimeFault as trouble:
            return str(trouble).splitlines()
        return [timed(line) if times else line for line in text.splitlines()]

    def follow(self, unit: str, lines: int, times: bool) -> list[str]:
        """Return the command line that follows its journal."""
        return [*_journal(unit, lines, times), "--follow"]

    def by_hand(self, verb: str, unit: str) -> list[str]:
        """Return what a person would say."""
        return ["systemctl", verb, unit]


def _look(values: Mapping[str, str]) -> Look:
    active, code = values["ActiveState"], int(values["ExecMainStatus"] or 0)
    if values["ExecMainCode"] in _BY_SIGNAL:
        code += _SIGNALLED
    given_up = _given_up(values)
    state = "running"
    if active == "activating":
        state = "restarting" if values["SubState"].startswith("auto-restart") else "running"
    elif active in ("inactive", "failed"):
        state = "dead" if given_up else "exited"
    ended = state != "running"
    if ended and values["UnitFileState"] == "disabled" and not values["ExecMainExitTimestamp"]:
        # Somebody has stopped it, see `hold`; systemd forgets how that went when it went well.
        code = _TERMINATED
    return Look(
        state,
        pid=int(values["MainPID"] or 0),
        exit_code=code if ended else 0,
        # The last one counts although it was refused.
        restarts=int(values["NRestarts"] or 0) - given_up,
        started_at=_moment(values["ExecMainStartTimestamp"]),
        finished_at=_moment(values["ExecMainExitTimestamp"]) if ended else "",
        out_of_memory=values["Result"] == "oom-kill",
        refused="it has ended too often" if given_up else "",
    )


def _given_up(values: Mapping[str, str]) -> bool:
    """Tell whether a start was refused as one too many.

    That is the result only of what had ended well; else that one stays, and what tells is that the
    unit has waited for a start since its process ended. Who stops a waiting one has it inactive.
    """
    if values["Result"] == "start-limit-hit":
        return True
    began, ended = (
        int(values[f"{name}TimestampMonotonic"]) for name in ("InactiveExit", "ExecMainExit")
    )
    return values["ActiveState"] == "failed" and began > ended > 0


def _moment(text: str) -> str:
    """Return a moment that systemd gives in Unix seconds (@1700000000) as RFC 3339 has it."""
    number = text.removeprefix("@")
    if not number.isdigit():
        return ""
    return datetime.fromtimestamp(int(number), UTC).strftime("%Y-%m-%dT%H:%M:%S.0Z")


def _path(unit: str) -> Path:
    return UNIT_DIRECTORY / f"{unit}.service"


def _journal(unit: str, lines: int, times: bool) -> list[str]:
    how = "short-iso-precise" if times else "cat"
    return ["journalctl", "--unit", f"{unit}.service", "--lines", str(lines), "--output", how]


def systemctl(*argv: str, check: bool = True, timeout_seconds: float = _SECONDS) -> str:
    """Run it and return what it prints; raises RuntimeFault, for a failure with ``check`` alone."""
    return _run(["systemctl", *argv], timeout_seconds, check)


def _run(argv: Sequence[str], timeout_seconds: float, check: bool = True) -> str:
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
    except FileNotFoundError:
        raise RuntimeFault(f"{argv[0]} is not installed on this host") from None
    except subprocess.TimeoutExpired:
        raise RuntimeFault(
            f"`{shlex.join(argv)}` did not end within {timeout_seconds:g} s"
        ) from None
    if check and done.returncode != 0:
        raise RuntimeFault(f"`{shlex.join(argv)}` failed: {done.stderr.strip()}")
    return done.stdout
