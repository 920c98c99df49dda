"""The supervisor's side of its guardian: how children that are not its own ended.

A supervisor that came back is not the parent of the services that ran on: the guardian is, and
reaps them. It writes a record of each into a pipe that it holds open itself, so that records
written while no supervisor lives are read by the next one.
"""

from __future__ import annotations

import os
import signal
import struct
from collections import OrderedDict

from process_supervisor.common import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from process_supervisor.common.loop import EventLoop

RECORD = struct.Struct("<qqqq")
"""pid, wait status, start time in ticks, unix time of the end in microseconds: see guard.py."""


class GuardianLink:
    """To the parent that reaps; `pid` is 0 when the supervisor runs without one."""

    def __init__(self, loop: EventLoop, pid: int = 0, fd: int | None = None) -> None:
        self.pid = pid
        self._fd = fd
        self._strangers = False
        self._records: OrderedDict[tuple[int, int], tuple[int, float]] = OrderedDict()
        self.on_record: Callable[[], None] = lambda: None
        if fd is not None:
            os.set_inheritable(fd, False)
            os.set_blocking(fd, False)
            self._read()
            loop.watch(fd, self._readable)

    def ended(self, pid: int, start: int) -> tuple[int, float] | None:
        """Return wait status and unix time of an end, once; None while nothing is known."""
        return self._records.pop((pid, start), None)

    def meet(self, key: str) -> None:
        """See whether there are processes of services whose guardian was another one.

        With its end they became those of a process that is neither: from now on all processes have
        to be looked at.
        """
        if self.pid:
            own = set(procfs.descendants(procfs.children(self.pid) or ()))
            others = (pid for pid in procfs.all_pids() if pid not in own)
            self._strangers = any(procfs.is_marked(procfs.marker(pid), key) for pid in others)

    def orphans(self, known: set[int]) -> list[int]:
        """Return processes that lost their parent and may belong to a service.

        known are pids that are accounted for. Without a guardian, after the end of an earlier one,
        or where the kernel does not list children, these are all processes there are.
        """
        listed = self.pid and not self._strangers
        found = procfs.children(self.pid, single=True) if listed else None
        # The kernel gives away the children of one that has just been killed: asked afterwards.
        if found is None or os.getppid() != self.pid:
            found = [pid for pid in procfs.all_pids() if pid not in known]
            # Without a guardian this process may have children that are no services at all.
            return [pid for pid in found if not is_child(pid)]
        return procfs.descendants(pid for pid in found if pid not in known)

    def hold_fifos(self) -> None:
        """Have the guardian keep the FIFOs open, so that unread output outlives both its writer
        and the supervisor."""
        if self.pid:
            os.kill(self.pid, signal.SIGRTMIN)

    def _readable(self) -> None:
        self._read()
        self.on_record()

    def _read(self) -> None:
        assert self._fd is not None
        try:
            data = os.read(self._fd, RECORD.size * 2048)
        except BlockingIOError:
            return
        for pid, status, start, at in RECORD.iter_unpack(data):
            self._records[pid, start] = (status, at / 1e6)
        while len(self._records) > 4096:
            self._records.popitem(last=False)


def is_child(pid: int) -> bool:
    """Return whether a process is a child of this one."""
    facts = procfs.stat(pid)
    return facts is not None and facts.parent == os.getpid()
