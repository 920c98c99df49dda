"""What the kernel says of processes: /proc, the family marker and pidfd exit information."""

from __future__ import annotations

import fcntl
import os
import struct
from binascii import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

# struct pidfd_info and PIDFD_GET_INFO of linux/pidfd.h; PIDFD_INFO_EXIT exists since Linux 6.15.
PIDFD_INFO = struct.Struct("QQ11Ii")
PIDFD_GET_INFO = (3 << 30) | (PIDFD_INFO.size << 16) | (0xFF << 8) | 11
PIDFD_INFO_EXIT = 1 << 3


class Stat:
    """The fields of /proc/PID/stat that the supervisor uses."""

    __slots__ = ("group", "parent", "resident", "session", "start", "state", "ticks")

    def __init__(self, text: bytes) -> None:
        # The name in parentheses may itself hold spaces and parentheses.
        fields = text[text.rindex(b")") + 2 :].split()
        self.state = fields[0].decode()
        self.parent = int(fields[1])
        self.group = int(fields[2])
        self.session = int(fields[3])
        self.ticks = int(fields[11]) + int(fields[12])
        self.start = int(fields[19])
        self.resident = int(fields[21]) * PAGE


def read(path: str) -> bytes:
    """Read a small file of /proc whole."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)


def read_all(path: str) -> bytes:
    """Read a file of /proc of which the kernel gives a page at a time."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.read(fd, 65536)
        while more := found and os.read(fd, 65536):
            found += more
        return found
    finally:
        os.close(fd)


def stat(pid: int) -> Stat | None:
    """Return a process's facts, None when there is no such process."""
    try:
        return Stat(read(f"/proc/{pid}/stat"))
    except (OSError, ValueError):
        return None


def exists(pid: int) -> bool:
    """Tell whether a process is there, be it one that has ended and was not reaped yet."""
    return os.path.exists(f"/proc/{pid}")


def start_ticks(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 when there is none."""
    found = stat(pid)
    return found.start if found else 0


def user(pid: int) -> int | None:
    """Return the uid by which a process was started, None when there is no such process.

    Not the effective one, which a program such as su gives to whoever starts it.
    """
    try:
        status = read(f"/proc/{pid}/status")
        return int(status[status.index(b"\nUid:") + 5 :].split(None, 1)[0])
    except (OSError, ValueError, IndexError):
        return None


def resident(pid: int) -> int:
    """Return a process's resident memory in bytes, 0 when there is no such process."""
    try:
        return int(read(f"/proc/{pid}/statm").split()[1]) * PAGE
    except (OSError, ValueError, IndexError):
        return 0


def all_pids() -> Iterator[int]:
    """Yield every pid of this pid namespace."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def children(pid: int, single: bool = False) -> list[int] | None:
    """Return a process's children, None where the kernel does not list them.

    single says that it has one thread: the others are not looked for then.
    """
    result: list[int] = []
    try:
        for task in (pid,) if single else os.listdir(f"/proc/{pid}/task"):
            result += map(int, read_all(f"/proc/{pid}/task/{task}/children").split())
    except FileNotFoundError:
        return [] if not os.path.exists("/proc/self/task") or _lists_children() else None
    except (OSError, ValueError):
        return []
    return result


def _lists_children() -> bool:
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def descendants(roots: Iterable[int]) -> list[int]:
    """Return the roots and everything below them."""
    result = dict.fromkeys(roots)
    for pid in (waiting := list(result)):
        new = [child for child in children(pid) or [] if child not in result]
        result.update(dict.fromkeys(new))
        waiting += new
    return waiting


class Everybody:
    """The facts of many processes, read once, and who is whose child."""

    def __init__(self, pids: Iterable[int]) -> None:
        self.facts = {pid: found for pid in pids if (found := stat(pid))}
        self._children: dict[int, list[int]] = {}
        for pid, facts in self.facts.items():
            self._children.setdefault(facts.parent, []).append(pid)

    def below(self, root: int) -> list[Stat]:
        """Return the facts of a process and everything below it."""
        found = [root]
        for pid in found:
            found += self._children.get(pid, ())
        return [self.facts[pid] for pid in found if pid in self.facts]


def generation() -> str:
    """Name this boot and this run of this pid namespace: pids mean nothing in another one."""
    boot = read("/proc/sys/kernel/random/boot_id").decode().strip()
    return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}:{start_ticks(1)}"


TURN = 1 << 62
"""Added to the marker at every other start, so that the next can be told from what one has left."""


def family(key: str, name: str) -> int:
    """Return the marker that a service's processes carry.

    It is set as the soft limit RLIMIT_LOCKS, which the kernel has ignored since Linux 2.4.25, and
    which every descendant inherits and anyone may read in /proc/PID/limits: unlike a variable in
    the environment it outlives a cleared environment, and unlike the process group a setsid().
    """
    return 1 << 61 | crc32(key.encode()) << 29 | crc32(name.encode()) >> 3


def marker(pid: int) -> int:
    """Return a process's marker, 0 when it has none."""
    return _marked(pid) & ~TURN


def turn(pid: int) -> bool:
    """Return whether a process comes of a start with the bit set that every other start has."""
    return bool(_marked(pid) & TURN)


def _marked(pid: int) -> int:
    try:
        limits = read(f"/proc/{pid}/limits")
        soft = limits[limits.index(b"Max file locks") + 14 :].split(None, 1)[0]
        return int(soft) if soft.isdigit() else 0
    except (OSError, ValueError, IndexError):
        return 0


def is_marked(mark: int, key: str) -> bool:
    """Return whether a marker is of any service's family."""
    return mark >> 29 == family(key, "") >> 29


def exit_information(pidfd: int) -> int | None:
    """Return the wait status of a reaped process that was not our child, None if not known.

    Only Linux 6.15 and later keep it.
    """
    buffer = bytearray(PIDFD_INFO.pack(PIDFD_INFO_EXIT, *([0] * 13)))
    try:
        fcntl.ioctl(pidfd, PIDFD_GET_INFO, buffer)
    except OSError:
        return None
    mask, *_, status = PIDFD_INFO.unpack(buffer)
    return int(status) if mask & PIDFD_INFO_EXIT else None
