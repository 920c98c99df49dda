"""The FIFO that a process writes to, and from it into the log file, driven by the loop."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
import time

from process_supervisor.common.openfiles import leave_some
from process_supervisor.output.logfile import LogFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from process_supervisor.common.loop import EventLoop

RETRY = 0.25
MOST_AT_ONCE = 16
# Of a FIFO's bytes: beyond it a writer may soon have to wait. Odd sizes fill half of each page.
NEARLY_FULL = 0.25
PIPE_SIZES = (1 << 20, 1 << 18)


def make_fifo(path: str, owner: int | None = None) -> int:
    """Create the FIFO if needed and return a non-blocking read-write descriptor for it.

    Read-write, because a FIFO without any writer would report its end over and over, and one
    without any reader would kill its writers with SIGPIPE.
    """
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        os.mkfifo(path, 0o600)
    if owner is not None:
        # A program may open /dev/stdout again, which checks the FIFO's owner.
        os.chown(path, owner, -1)
    fd = leave_some(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    for size in PIPE_SIZES:
        try:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
            break
        except OSError:
            continue  # over the system's or the user's limit: a smaller one works as well
    return fd


class Pump:
    """Moves one stream's output; on_output is called after each move."""

    def __init__(
        self, loop: EventLoop, fifo: int, log: LogFile, on_output: Callable[[], None]
    ) -> None:
        self.fifo = fifo
        self.log = log
        self.problem: str | None = None
        self.lost = 0
        self._since = ""
        self._closed = False
        self._waiting = False
        self._on_output = on_output
        self._loop = loop
        loop.watch(fifo, self._readable)

    def drain(self) -> None:
        """Move what is in the FIFO now, bounded, so that a log's end is there to be shown."""
        for _ in range(MOST_AT_ONCE):
            if not self._take():
                return

    def reopen(self) -> None:
        """Have the log file opened anew, with everything written before in the old one."""
        self.drain()
        self.log.reopen()

    def close(self) -> None:
        """Move what is left and free the descriptors; the FIFO itself stays."""
        self.drain()
        self._loop.unwatch(self.fifo)
        self._closed = True
        os.close(self.fifo)
        self.log.close()

    def _readable(self) -> None:
        self._take()

    def _take(self) -> int:
        try:
            if self.lost:
                self.log.note(f"[{self._loss()}]\n".encode())
                self.lost = 0
            taken = self.log.take(self.fifo)
        except OSError as error:
            # A full disk: output waits in the FIFO for room, but its writers must not.
            self._drop()
            said = f"; {self._loss()}" if self.lost else ""
            self.problem = f"cannot write {self.log.path}: {error.strerror}{said}"
            if not self._waiting:
                self._waiting = True
                self._loop.unwatch(self.fifo)
                self._loop.call_later(RETRY, self._resume)
            return 0
        self.problem = None
        if taken:
            self._on_output()
        return taken

    def _loss(self) -> str:
        return f"output lost: {self.lost} bytes since {self._since}"

    def _drop(self) -> None:
        """Let go of what waits when there is hardly room for more."""
        held = struct.unpack("i", fcntl.ioctl(self.fifo, termios.FIONREAD, bytes(4)))[0]
        if held < NEARLY_FULL * fcntl.fcntl(self.fifo, fcntl.F_GETPIPE_SZ):
            return
        if not self.lost:
            self._since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with contextlib.suppress(BlockingIOError):  # a reader of an earlier time has taken it
            self.lost += len(os.read(self.fifo, held))

    def _resume(self) -> None:
        self._waiting = False
        if not self._closed:
            self._loop.watch(self.fifo, self._readable)
            self._take()  # a FIFO of one that waits for room shows nothing new
