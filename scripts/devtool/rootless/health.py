"""Asking processes for their health, as the Compose file says."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from contextlib import suppress

from devtool.rootless import daemon
from devtool.rootless.places import Places
from devtool.rootless.programs import Program
from devtool.ui import Problem, say

_POLL_SECONDS = 0.1
# Beyond start_period, in which an engine counts no failure.
_PATIENCE_SECONDS = 30.0
_TAIL_LINES = 20


def wait(places: Places, program: Program) -> None:
    """Wait until all processes of a program are well; raises Problem with the last of its log."""
    limit = _PATIENCE_SECONDS + (program.check.start_period if program.check else 0.0)
    deadline = time.monotonic() + limit
    for process in program.processes:
        while not _well(places, program, process):
            state = daemon.state(places, f"{program.group}:{process}")
            late = time.monotonic() > deadline
            if late or state in ("FATAL", "EXITED", "STOPPED"):
                what = f"is not well after {limit:.0f} s" if late else f"is {state}"
                log = places.logs / f"{process}.log"
                lines = log.read_text(errors="replace").splitlines() if log.exists() else []
                raise Problem(f"{process} {what}", *lines[-_TAIL_LINES:], f"(whole log: {log})")
            time.sleep(_POLL_SECONDS)


def tell(program: Program) -> None:
    """Say what can be used now."""
    where = f" at {program.address}" if program.address else ""
    many = f" ({len(program.processes)})" if program.numbered else ""
    say(f"    {program.service}{many}: {'ready' if program.check else 'runs'}{where}")


def _well(places: Places, program: Program, process: str) -> bool:
    if daemon.state(places, f"{program.group}:{process}") not in ("STARTING", "RUNNING"):
        return False
    check = program.check
    if check is None:
        return daemon.state(places, f"{program.group}:{process}") == "RUNNING"
    if check.url:
        # A URL of this machine's loopback: the Compose file's reader sees to that.
        with (
            suppress(OSError),
            urllib.request.urlopen(check.url, timeout=check.timeout) as answer,  # noqa: S310
        ):
            return bool(200 <= answer.status < 400)
        return False
    with suppress(subprocess.TimeoutExpired, OSError):
        done = subprocess.run(
            check.command,
            env=program.variables(process),
            cwd=program.directory,
            timeout=check.timeout,
            capture_output=True,
            check=False,
        )
        return done.returncode == 0
    return False
