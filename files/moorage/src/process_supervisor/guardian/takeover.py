"""Replacing a supervisor that runs already, without touching its services.

For service managers: when a guardian is killed, its supervisor takes its place and goes on, but
the manager knows only the dead one and starts another. `run --takeover` makes that one the heir.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal

from process_supervisor.common import procfs


def take_over(run_dir: str) -> list[int]:
    """Kill guardian and supervisor of a run_dir, if it has any, and return their pids.

    The supervisor is stopped first: it would become the guardian at the guardian's death.
    """
    pid = holder(run_dir)
    if pid is None:
        return []
    facts = procfs.stat(pid)
    victims = [pid]
    if facts is not None and is_guardian(facts.parent, run_dir):
        victims.insert(0, facts.parent)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    return victims


def holder(run_dir: str) -> int | None:
    """Return the pid of the supervisor that holds a run_dir's lock, None when nobody does."""
    try:
        fd = os.open(f"{run_dir}/lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        text = os.pread(fd, 20, 0).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(fd)


def is_guardian(pid: int, run_dir: str) -> bool:
    """Return whether a process is the guardian of a run_dir, by its command line."""
    try:
        words = procfs.read(f"/proc/{pid}/cmdline").split(b"\0")
    except OSError:
        return False
    return b"guardian" in words and run_dir.encode() in words
