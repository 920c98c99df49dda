"""CPU time and memory of a container, out of its control groups: two small files to read.

The engine's own statistics take it one and a half milliseconds a container; they are for where
the files cannot be read.
"""

from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


@dataclass(frozen=True)
class Reading:
    """CPU time since the start in seconds, and memory in bytes without page cache that may go."""

    cpu_seconds: float
    memory_bytes: int


def read_container(
    pid: int, container: str, *, proc: Path = _PROC, root: Path = _ROOT
) -> Reading | None:
    """Return what the container of this main process uses, None where that is not to be read.

    The groups must be the container's own, by its id, for the pid may be another's by now.
    """
    try:
        groups = _groups((proc / str(pid) / "cgroup").read_text(), container)
        if "" in groups and (root / "cgroup.controllers").exists():
            return _unified(root / groups[""])
        return _separate(root / "cpuacct" / groups["cpuacct"], root / "memory" / groups["memory"])
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _groups(text: str, container: str) -> dict[str, str]:
    """The container's group in each hierarchy; it may have groups of its own below that."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        parts = path.strip("/").split("/")
        at = next((n for n, part in enumerate(parts) if container in part), None)
        if at is not None and ".." not in parts:
            for controller in controllers.split(","):
                found[controller] = "/".join(parts[: at + 1])
    return found


def _unified(group: Path) -> Reading:
    cpu = _fields(group / "cpu.stat")["usage_usec"] / 1e6
    used = int((group / "memory.current").read_text())
    return Reading(cpu, max(0, used - _fields(group / "memory.stat").get("inactive_file", 0)))


def _separate(cpu: Path, memory: Path) -> Reading:
    used = int((memory / "memory.usage_in_bytes").read_text())
    cache = _fields(memory / "memory.stat").get("total_inactive_file", 0)
    return Reading(int((cpu / "cpuacct.usage").read_text()) / 1e9, max(0, used - cache))


def _fields(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in path.read_text().splitlines())
    return {name: int(value) for name, value in pairs}
