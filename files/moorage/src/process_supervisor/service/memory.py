"""Ends for want of memory: the kernel counts them for the control group of this container.

It kills one process and leaves the others, and a killed process looks like any other one that got
SIGKILL: the count before and after tells them apart. The count is there before the signal is.
"""

from __future__ import annotations

import time

from process_supervisor.common.procfs import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ROOT = "/sys/fs/cgroup"
# Seconds: how long a status tells of it; how often, beside each question for the status, kills
# are looked for that no service's main process died of; how long one may yet turn out to be that.
REMEMBERED = 86_400.0
INTERVAL = 60.0
PATIENCE = 1.0


def kills(path: str) -> int | None:
    """Return how many processes of a control group the kernel has killed, None if not known.

    memory.events of cgroup v2 and memory.oom_control of v1 both have a line `oom_kill N`.
    """
    try:
        lines = read(path).split(b"\n")
        return next(int(line[9:]) for line in lines if line.startswith(b"oom_kill "))
    except (OSError, ValueError, StopIteration):
        return None


def counter(root: str = ROOT, proc: str = "/proc") -> str:
    """Return the file that has the count of this process's control group, empty without one."""
    found = (path for path in _candidates(root, proc) if kills(path) is not None)
    return next(found, "")


def told(at: float, what: str = "it") -> str:
    """Say in words that something was killed at a time in seconds since 1970."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    return f"the kernel ended {what} for want of memory at {moment}"


def _candidates(root: str, proc: str) -> list[str]:
    found = []
    for line in read(f"{proc}/self/cgroup").decode("utf-8", "replace").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            found.append(f"{root}{path}/memory.events")
        elif "memory" in controllers.split(","):
            found.append(f"{root}/memory{path}/memory.oom_control")
    # Within a container its own group is the root, whatever it is called outside.
    return [*found, f"{root}/memory.events", f"{root}/memory/memory.oom_control"]


class Shortage:
    """What was told of so far: the kernel's count, and kills that were nobody's main process."""

    def __init__(self, saved: Mapping[str, Any]) -> None:
        self._file = counter()
        count = kills(self._file)
        known = saved.get("known")
        self.known: int = known if isinstance(known, int) else count or 0
        self.strays = int(saved.get("strays") or 0)
        self.at: float | None = saved.get("at")
        self.watched = count is not None

    def pending(self) -> int:
        """Return how many kills there were that were not told of."""
        count = kills(self._file) if self.watched else None
        return max(0, count - self.known) if count is not None else 0

    def find(self) -> None:
        """Look for the count again: somebody may have moved this process to another group."""
        self._file = counter()

    def take(self, number: int = 1) -> bool:
        """Tell of so many; False when there were not that many."""
        if not number or self.pending() < number:
            return False
        self.known += number
        return True

    def as_dict(self) -> dict[str, object]:
        """Return what the next supervisor needs to know."""
        return {"known": self.known, "strays": self.strays, "at": self.at}
