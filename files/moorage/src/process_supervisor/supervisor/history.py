"""What each process used over the last day: a sample a minute, in a file that is overwritten.

`state_dir/history/NAME.day` has a place for each minute of a day. What is in it is told by the
minute that stands beside it, so neither a pause nor a file that was torn is taken for a sample.
Nothing of it is in memory.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time

from process_supervisor.common.procfs import TICKS
from process_supervisor.service.status import everybody_for, measure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from process_supervisor.common.loop import EventLoop
    from process_supervisor.service.process import Process

    # Seconds since 1970, share of one CPU in per cent, resident bytes.
    Sample = tuple[int, float, int]

INTERVAL = 60
SAMPLES = 1440
# The minute since 1970, the share in tenths of a per cent, KiB.
RECORD = struct.Struct("<III")
MOST = (1 << 32) - 1


class History:
    """Takes samples of all processes that run and tells them."""

    def __init__(self, state_dir: str, loop: EventLoop, processes: Mapping[str, Process]) -> None:
        self._directory = f"{state_dir}/history"
        self._loop = loop
        self._processes = processes
        # Pid, time on the loop's clock and ticks at the sample before.
        self._looks: dict[str, tuple[int, float, int]] = {}

    def begin(self) -> None:
        """Take a sample at each full minute from now on."""
        self._loop.call_later(INTERVAL - time.time() % INTERVAL + 0.5, self._again)

    def _again(self) -> None:
        self.begin()
        # Trouble costs a sample: a disk that is full is told of elsewhere.
        with contextlib.suppress(OSError):
            self.sample(int(time.time()) // INTERVAL)

    def sample(self, minute: int) -> None:
        """Note what is used; raises OSError."""
        os.makedirs(self._directory, mode=0o755, exist_ok=True)
        running = [process for process in self._processes.values() if process.pid]
        everybody = everybody_for(running)
        looks, self._looks = self._looks, {}
        for process in running:
            assert process.pid
            ticks, resident = measure(process.pid, everybody)
            now = self._loop.time()
            self._looks[process.name] = (process.pid, now, ticks)
            pid, at, before = looks.get(process.name, (0, 0.0, 0))
            if pid != process.pid:
                at, before = process.started, 0
                if now - at > 2 * INTERVAL:
                    continue  # adopted: what it used until now says nothing of the last minute
            share = max(0, ticks - before) / TICKS / max(now - at, 0.001) * 1000
            record = RECORD.pack(minute, min(round(share), MOST), min(resident >> 10, MOST))
            self._write(process.name, minute, record)

    def _write(self, name: str, minute: int, record: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._path(name), flags, 0o600)
        try:
            os.pwrite(fd, record, minute % SAMPLES * RECORD.size)
        finally:
            os.close(fd)

    def read(self, name: str) -> list[Sample]:
        """Return the samples of the last day, oldest first."""
        data = b""
        with contextlib.suppress(OSError), open(self._path(name), "rb") as file:
            data = file.read(SAMPLES * RECORD.size)
        now = int(time.time()) // INTERVAL
        whole = data[: len(data) // RECORD.size * RECORD.size]
        found = [
            (minute * INTERVAL, share / 10, size << 10)
            for number, (minute, share, size) in enumerate(RECORD.iter_unpack(whole))
            if minute % SAMPLES == number and now - SAMPLES < minute <= now
        ]
        return sorted(found)

    def forget(self, name: str) -> None:
        """Remove the samples of a process that is no more."""
        with contextlib.suppress(OSError):
            os.unlink(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._directory}/{name}.day"
