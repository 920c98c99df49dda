"""From a process's FIFO into its log file, driven by the loop."""

from __future__ import annotations

import os

from process_supervisor.logfile import LogFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from process_supervisor.loop import EventLoop

RETRY = 1.0
MOST_AT_ONCE = 16


class Pump:
    """Moves one stream's output; on_output is called after each move."""

    def __init__(
        self, loop: EventLoop, fifo: int, log: LogFile, on_output: Callable[[], None]
    ) -> None:
        self.fifo = fifo
        self.log = log
        self.problem: str | None = None
        self._closed = False
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
            taken = self.log.take(self.fifo)
        except OSError as error:
            # A full disk: the output waits in the FIFO, and its writers in write(), for room.
            self.problem = f"cannot write {self.log.path}: {error.strerror}"
            self._loop.unwatch(self.fifo)
            self._loop.call_later(RETRY, self._resume)
            return 0
        self.problem = None
        if taken:
            self._on_output()
        return taken

    def _resume(self) -> None:
        if not self._closed:
            self._loop.watch(self.fifo, self._readable)
