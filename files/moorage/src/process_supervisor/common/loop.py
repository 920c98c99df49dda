"""The event loop: file descriptors, timers, signals and wake-ups from other threads.

It sleeps in epoll until something happens; with no timer set it sleeps for ever.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import selectors
import signal
import sys
import time
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Callback = Callable[[], None]


class Timer:
    """A callback at a time; `cancel` makes it never run."""

    __slots__ = ("callback", "cancelled", "when")

    def __init__(self, when: float, callback: Callback) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Forget the callback."""
        self.cancelled = True

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when


class EventLoop:
    """Dispatches events in one thread. Times are seconds on time.monotonic()."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._soon: deque[Callback] = deque()
        self._signals: dict[int, Callback] = {}
        self._running = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watch(self._wake_read, self._woken)

    time = staticmethod(time.monotonic)

    def watch(
        self, fd: int, on_read: Callback | None = None, on_write: Callback | None = None
    ) -> None:
        """Call back while fd is readable or writable; replaces what was watched on it."""
        events = (selectors.EVENT_READ if on_read else 0) | (
            selectors.EVENT_WRITE if on_write else 0
        )
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, (on_read, on_write))
        else:
            self._selector.register(fd, events, (on_read, on_write))

    def unwatch(self, fd: int) -> None:
        """Stop watching fd; must come before it is closed. Harmless if it is not watched."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def call_at(self, when: float, callback: Callback) -> Timer:
        """Call back at a time on this loop's clock."""
        timer = Timer(when, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def call_later(self, delay: float, callback: Callback) -> Timer:
        """Call back after delay seconds."""
        return self.call_at(self.time() + delay, callback)

    def call_soon(self, callback: Callback) -> None:
        """Call back before the loop sleeps again; from this loop's thread only."""
        self._soon.append(callback)

    def call_from_thread(self, callback: Callback) -> None:
        """Call back in the loop's thread as soon as possible; from any thread."""
        self._soon.append(callback)
        self._wake()

    def on_signal(self, number: int, callback: Callback) -> None:
        """Handle a signal in the loop; main thread only. The handler itself only wakes the loop."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(number, lambda *_: None)
        self._signals[number] = callback

    def run(self) -> None:
        """Dispatch until `stop`."""
        self._running = True
        while self._running:
            self.run_once()

    def stop(self) -> None:
        """Make `run` return after the current round; from any thread."""
        self._running = False
        self._wake()

    def run_once(self, limit: float | None = None) -> None:
        """Sleep until an event, at most limit seconds, and dispatch what is due."""
        for key, events in self._selector.select(self._sleep_time(limit)):
            on_read, on_write = key.data
            for event, callback in (
                (selectors.EVENT_READ, on_read),
                (selectors.EVENT_WRITE, on_write),
            ):
                # An earlier callback may have closed and even reused the descriptor.
                current = self._selector.get_map().get(key.fd) is key
                if events & event and callback and current:
                    self._call(callback)
        self._run_timers()
        for _ in range(len(self._soon)):
            self._call(self._soon.popleft())

    def close(self) -> None:
        """Free the loop's own descriptors."""
        if self._signals:
            signal.set_wakeup_fd(-1)
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _sleep_time(self, limit: float | None) -> float | None:
        if self._soon:
            return 0.0
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)
        if self._timers:
            until = max(0.0, self._timers[0].when - self.time())
            return until if limit is None else min(until, limit)
        return limit

    def _run_timers(self) -> None:
        now = self.time()
        while self._timers and self._timers[0].when <= now:
            timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self._call(timer.callback)

    def _call(self, callback: Callback) -> None:
        # One defective callback must not take the other services' supervision with it.
        try:
            callback()
        except Exception:
            # Not the traceback module: the interpreter's own printer costs no memory.
            sys.excepthook(*sys.exc_info())

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes the loop as well
            os.write(self._wake_write, b"\0")

    def _woken(self) -> None:
        numbers = os.read(self._wake_read, 4096)
        for number in dict.fromkeys(numbers):
            if number in self._signals:
                self._call(self._signals[number])
