"""Who this run is, so that a host can tell a colleague at work from a run that died."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
# The start of a process is computed from clock ticks; two readings differ by less than this.
_TOLERANCE_SECONDS = 2.0


def claim(purpose: str, pid: int) -> dict[str, Any]:
    """Return what a reservation says of the run whose main process is ``pid``."""
    return {
        "who": os.environ.get("SUDO_USER") or getpass.getuser(),
        "controller": socket.gethostname(),
        "machine": machine(),
        "pid": pid,
        "started": started(pid) or 0.0,
        "purpose": purpose,
    }


def is_gone(holder: Mapping[str, Any]) -> bool:
    """Tell whether a reservation is this machine's and its process does not live any more.

    Of other machines, and of other PID namespaces of this one, nothing is known: theirs never count
    as gone.
    """
    here = (socket.gethostname(), machine())
    pid = int(holder["pid"])
    if (holder.get("controller"), holder.get("machine")) != here or not here[1] or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        # Somebody else's process; its start tells whether it is the one meant.
        pass
    now, then = started(pid), float(holder.get("started") or 0.0)
    return bool(now and then and abs(now - then) > _TOLERANCE_SECONDS)


def machine() -> str:
    """Return what process numbers count in: this boot and this PID namespace; "" where unknown.

    Containers often share the name of a host, or that of each other.
    """
    try:
        if os.readlink(_PROC / "self") != str(os.getpid()):
            # A /proc that was mounted for another namespace tells of that one's processes.
            return ""
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        space = os.stat(_PROC / "self/ns/pid")
    except OSError:
        return ""
    return f"{boot}/{space.st_dev}:{space.st_ino}"


def started(pid: int) -> float | None:
    """Return when a process started, in Unix seconds; None where that cannot be told."""
    try:
        # The name in parentheses may hold anything, so fields count from behind it.
        stat = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        boot = next(
            line.split()[1]
            for line in (_PROC / "stat").read_text().splitlines()
            if line.startswith("btime ")
        )
    except (OSError, StopIteration):
        return None
    # Field 22 of proc(5): clock ticks since the boot; the state is field 3.
    return round(float(boot) + int(stat[19]) / os.sysconf("SC_CLK_TCK"), 2)
