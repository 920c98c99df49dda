"""CPU time and memory of a service, out of its control groups: two small files to read.

The engine's own statistics take it one and a half milliseconds a container; they are for where
the files cannot be read.
"""

import threading
import time
from dataclasses import dataclass

from process_supervisor.common.procfs import read

_ROOT = "/sys/fs/cgroup"
_PROC = "/proc"
_SHORTEST_SPAN = 0.5


@dataclass(frozen=True)
class Reading:
    """CPU time since the start in seconds, and memory in bytes without page cache that may go."""

    cpu_seconds: float
    memory_bytes: int


class Shares:
    """CPU shares between two looks at a service, because a share needs a span of time."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._looks: dict[str, tuple[str, float, float, float]] = {}

    def percent(self, name: str, run: str, started: float, reading: Reading) -> float:
        """Return the share of one core since the last look, or since the start at the first.

        `run` tells one run of the service from the next; `started` is in seconds since 1970.
        """
        now = time.time()
        with self._lock:
            look = self._looks.get(name)
            if look is None or look[0] != run:
                look = (run, started, 0.0, 0.0)
            _, at, before, percent = look
            if now - at >= _SHORTEST_SPAN:
                used = max(0.0, reading.cpu_seconds - before)
                percent = round(used / (now - at) * 100, 1)
                look = (run, now, reading.cpu_seconds, percent)
            self._looks[name] = look
            return percent


def read_container(
    pid: int, container: str, *, proc: str = _PROC, root: str = _ROOT
) -> Reading | None:
    """Return what the container of this main process uses, None where that is not to be read.

    The groups must be the container's own, by its id, for the pid may be another's by now. A unit
    of systemd has groups of its name.
    """
    try:
        groups = _groups(read(f"{proc}/{pid}/cgroup").decode(), container)
        if "memory" in groups:
            return _separate(
                f"{root}/cpuacct/{groups['cpuacct']}", f"{root}/memory/{groups['memory']}"
            )
        return _unified(f"{root}/{groups['']}")
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _groups(text: str, container: str) -> dict[str, str]:
    """The container's group in each hierarchy; it may have groups of its own below that."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        before, known, after = path.partition(container)
        if known and ".." not in before:
            group = before + known + after.partition("/")[0]
            for controller in controllers.split(","):
                found[controller] = group.strip("/")
    return found


def _unified(group: str) -> Reading:
    cpu = _field(read(f"{group}/cpu.stat"), b"usage_usec ") / 1e6
    used = int(read(f"{group}/memory.current"))
    cache = _field(read(f"{group}/memory.stat"), b"inactive_file ")
    return Reading(cpu, max(0, used - cache))


def _separate(cpu: str, memory: str) -> Reading:
    used = int(read(f"{memory}/memory.usage_in_bytes"))
    cache = _field(read(f"{memory}/memory.stat"), b"total_inactive_file ")
    return Reading(int(read(f"{cpu}/cpuacct.usage")) / 1e9, max(0, used - cache))


def _field(text: bytes, name: bytes) -> int:
    at = text.index(b"\n" + name) if not text.startswith(name) else -1
    return int(text[at + 1 + len(name) :].split(b"\n", 1)[0])
