"""The supervisord of a stack: starting it, changing what it runs, ending it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import xmlrpc.client
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from devtool.paths import ROOT
from devtool.rootless import environments, rpc
from devtool.rootless.places import Places
from devtool.ui import Problem

# Of the person at the keyboard. What else is exported there is in no container either.
_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ")
_MARK = "MOORAGE_LOCAL"
_POLL_SECONDS = 0.05
_START_SECONDS = 20.0


def running(places: Places) -> bool:
    """Say whether it answers."""
    try:
        rpc.connect(places.socket).supervisor.getState()
    except rpc.AWAY:
        return False
    return True


def start(places: Places) -> None:
    """Start it in the background, and with it what the configuration starts."""
    env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    env |= {"PYTHONPATH": str(ROOT / "scripts"), _MARK: str(places.base)}
    done = subprocess.run(
        [environments.supervisor() / "supervisord", "-c", places.conf],
        env=env,
        cwd=places.base,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Problem("Supervisor did not start", *(done.stdout + done.stderr).splitlines()[-10:])
    if not _until(lambda: running(places), _START_SECONDS):
        raise Problem("Supervisor does not answer", f"Look into {places.logs}/supervisord.log")


def update(places: Places) -> None:
    """Have it run what the configuration says, and leave alone what has not changed."""
    server: Any = rpc.connect(places.socket)
    # Rereads the file as well.
    for process in server.moorage.difference():
        # NOT_RUNNING: it had ended by itself.
        with suppress(xmlrpc.client.Fault):
            server.supervisor.stopProcess(process)
    server.moorage.apply()
    ((added, _, removed),) = server.supervisor.reloadConfig()
    for group in removed:
        server.supervisor.stopProcessGroup(group)
        server.supervisor.removeProcessGroup(group)
    for group in added:
        server.supervisor.addProcessGroup(group)


def state(places: Places, process: str) -> str:
    """Return the state of one of its processes, GROUP:NAME."""
    server: Any = rpc.connect(places.socket)
    return str(server.supervisor.getProcessInfo(process)["statename"])


def begin(places: Places, process: str) -> None:
    """Start a process that does not run."""
    if state(places, process) not in ("RUNNING", "STARTING", "BACKOFF"):
        server: Any = rpc.connect(places.socket)
        server.supervisor.startProcess(process, False)


def stop(places: Places) -> bool:
    """End it with all that it runs, and wait for that; say whether there was anything."""
    there = running(places)
    if there:
        server: Any = rpc.connect(places.socket)
        pid = int(server.supervisor.getPID())
        with suppress(xmlrpc.client.Fault):
            server.supervisor.shutdown()
        # Each process has its own time to end, after which Supervisor kills it.
        _until(lambda: not _lives(pid), float("inf"))
    return end_strays(places) or there


def end_strays(places: Places) -> bool:
    """End processes of a supervisord that was killed; say whether there were any."""
    if not (found := _strays(places)):
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in _strays(places):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if _until(lambda: not _strays(places), 10.0):
            break
    return bool(found)


def _strays(places: Places) -> list[int]:
    """Return the processes of this user that were started for this stack of this checkout."""
    wanted = f"{_MARK}={places.base}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # One that has ended and that nobody has asked after, as where PID 1 is no init.
    return stat.rpartition(")")[2].split()[0] != "Z"


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
