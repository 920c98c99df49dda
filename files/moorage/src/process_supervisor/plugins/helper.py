"""A plug-in's helper process as the loop sees it: calls with a time limit, and a way back up.

Whatever the plug-in does, the loop never waits for it: pipes are non-blocking, what it prints is
read at a pace, an answer has a greatest length, and what hangs, floods or dies is killed with all
that it has started, and started again after a pause.
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque

from process_supervisor.config.settings import ProcessConfig
from process_supervisor.service import checks, leftovers
from process_supervisor.service.spawn import SpawnError, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from process_supervisor.common.loop import EventLoop, Timer
    from process_supervisor.config.plugins import PluginConfig

    # The result, and what was wrong with the call, or None.
    Done = Callable[[object, "Trouble | None"], None]

MOST_WAITING = 1000
MOST_BYTES = 65536
START_SECONDS = 30.0
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0
# What it prints is read so much at a time, with such pauses.
PRINT_PAUSE = 0.1
METHODS = ("check_health", "on_event", "send")


class Trouble(str):
    """Why a call has no result; ``raised`` when the plug-in said so itself, by an exception."""

    raised: bool

    def __new__(cls, text: str, raised: bool = False) -> Trouble:
        """Make one of a text."""
        self = super().__new__(cls, text)
        self.raised = raised
        return self


class Call:
    """A call that waits for its answer."""

    __slots__ = ("args", "done", "method")

    def __init__(self, method: str, args: Sequence[object], done: Done) -> None:
        self.method = method
        self.args = args
        self.done = done


class Helper:
    """Runs one plug-in. ``tell`` is told of trouble, and None when it is over.

    With ``idle`` the process ends after so many seconds without a call, until the next one.
    ``kills`` is told 1 when it is being killed, and -1 when nothing of it is left.
    """

    def __init__(
        self,
        loop: EventLoop,
        config: PluginConfig,
        mark: int,
        orphans: Callable[[], list[int]],
        tell: Callable[[str | None], None],
        idle: float | None = None,
        kills: Callable[[int], None] = lambda more: None,
    ) -> None:
        self.config = config
        self.does: list[str] | None = None  # not known before it has started once
        self.trouble: str | None = None
        self.starts = self.calls = self.lost = 0
        self._loop = loop
        self._mark = mark
        self._orphans = orphans
        self._tell = tell
        self._idle = idle
        self._kills = kills
        self._waiting: deque[Call] = deque()
        self._current: Call | None = None
        self._ready = self._ended = False
        self._child: subprocess.Popen[bytes] | None = None
        self._fds: list[int] = []  # for its orders, its answers and what it prints
        self._pidfd = -1
        self._buffer = self._printed = b""
        self._id = 0
        self._pause = 0.0
        self._timer: Timer | None = None  # for the answer, the end of a pause, or of idleness
        self._resting = False

    @property
    def pid(self) -> int | None:
        """The helper's pid while it runs."""
        return self._child.pid if self._child else None

    def call(self, method: str, args: Sequence[object], done: Done) -> Call:
        """Call a method; done(result, trouble) comes later, in the loop, exactly once."""
        call = Call(method, args, done)
        if self._resting or self._ended:
            self._loop.call_soon(lambda: done(None, Trouble(self.trouble or "it has ended")))
        elif len(self._waiting) >= MOST_WAITING:
            self.lost += 1
            text = f"{MOST_WAITING} calls wait already"
            self._loop.call_soon(lambda: done(None, Trouble(text)))
        else:
            self._waiting.append(call)
            self._loop.call_soon(self._go_on)
        return call

    def forget(self, call: Call) -> None:
        """Have nobody hear of a call's end."""
        call.done = lambda result, trouble: None
        if call in self._waiting:
            self._waiting.remove(call)

    def start(self) -> None:
        """Start it before the first call."""
        self._go_on(wanted=True)

    def end(self) -> None:
        """End the process and all calls, for good."""
        self._ended = True
        if self.trouble is not None:
            self._tell(None)
        self._down("it has ended")

    # The process

    def _go_on(self, wanted: bool = False) -> None:
        if self._resting or self._ended or self._current is not None:
            return
        if self._child is None:
            if self._waiting or wanted:
                self._start()
        elif self._ready and self._waiting:
            call = self._waiting.popleft()
            if call.method not in (self.does or ()):
                self._loop.call_soon(self._go_on)
                call.done(None, Trouble(f"it has no {call.method}"))
                return
            self._id += 1
            data = line_of({"id": self._id, "call": call.method, "args": call.args})
            if len(data) > MOST_BYTES:
                self._loop.call_soon(self._go_on)
                call.done(None, Trouble(f"a call of {len(data)} bytes is too long"))
                return
            self._current = call
            self._set_timer(self.config.timeout, self._late)
            self._write(data)

    def _start(self) -> None:
        self._close()
        orders, its_orders = os.pipe2(os.O_CLOEXEC)[::-1]
        answers, its_answers = os.pipe2(os.O_CLOEXEC)
        printed, its_printed = os.pipe2(os.O_CLOEXEC)
        self._fds = [orders, answers, printed]
        name = f"plugin-{self.config.name}"
        command = [sys.executable, "-m", "process_supervisor.plugins.host"]
        settings = ProcessConfig(
            name[:64], command, user=self.config.user,
            environment={"PYTHONPATH": os.pathsep.join(filter(None, (SOURCES, *inherited())))},
        )  # fmt: skip
        self.starts += 1
        try:
            self._child = run(
                settings, command, (its_answers, its_printed), self._mark, {}, its_orders
            )
        except SpawnError as error:
            self._broken(str(error))
            return
        finally:
            for fd in (its_orders, its_answers, its_printed):
                os.close(fd)
        for fd in self._fds:
            os.set_blocking(fd, False)
        self._pidfd = os.pidfd_open(self._child.pid)
        self._loop.watch(answers, self._answered)
        self._loop.watch(printed, self._prints)
        self._loop.watch(self._pidfd, self._died)
        self._set_timer(START_SECONDS, self._late)
        order = {
            "class": self.config.target, "settings": self.config.settings, "asked": METHODS,
            "memory_bytes": self.config.memory_mb << 20,
        }  # fmt: skip
        self._write(line_of(order))

    def _write(self, data: bytes) -> None:
        try:
            # The pipe is empty: it has read all that came before, as it answered that.
            written = os.write(self._fds[0], data) if len(data) <= MOST_BYTES else 0
        except OSError:
            return  # it has died; `_died` is on its way
        if written != len(data):
            self._broken(f"an order of {len(data)} bytes is too long")

    def _answered(self) -> None:
        try:
            data = os.read(self._fds[1], MOST_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._loop.unwatch(self._fds[1])
            return
        self._buffer += data
        while self._child is not None and b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            self._take(line)
        if len(self._buffer) > MOST_BYTES:
            self._broken("its answer has no end")

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
            error = str(message.get("error") or "")[:500]
            expected = message["id"] == self._id if self._ready else message.get("ready") or error
            does = [str(name) for name in message.get("does", ())]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            expected = False
        if not expected or (self._ready and self._current is None):
            self._broken(f"it answered what nobody asked: {line[:80]!r}")
        elif not self._ready:
            if error:
                self._broken(error)
                return
            self._ready, self.does = True, does
            self._rest()
        else:
            call, self._current = self._current, None
            assert call is not None
            self.calls += 1
            self._pause = 0.0
            if self.trouble is not None:
                self.trouble = None
                self._tell(None)
            self._rest()
            call.done(message.get("result"), Trouble(error, raised=True) if error else None)

    def _rest(self) -> None:
        """Take the next call, or wait for one."""
        self._cancel_timer()
        if self._idle is not None:
            self._set_timer(self._idle, lambda: self._down(None))
        self._loop.call_soon(self._go_on)

    def _prints(self) -> None:
        fd = self._fds[2]
        try:
            data = os.read(fd, MOST_BYTES)
        except BlockingIOError:
            return
        self._printed = (self._printed + data)[-checks.MOST_OUTPUT :]
        self._loop.unwatch(fd)
        if data:
            child = self._child
            self._loop.call_later(
                PRINT_PAUSE,
                lambda: self._loop.watch(fd, self._prints) if child is self._child else None,
            )

    def _late(self) -> None:
        self._timer = None
        what = self._current.method if self._current else "start"
        limit = self.config.timeout if self._current else START_SECONDS
        self._broken(f"{what} took longer than {limit:g} s")

    def _died(self) -> None:
        assert self._child is not None
        self._prints()
        self._broken("it has ended")

    # The end

    def _broken(self, reason: str) -> None:
        """Kill it, let all calls fail, and have it started anew after a pause."""
        said = self._printed.decode("utf-8", "replace").strip()[-300:]
        first = self.trouble is None
        self._pause = min(max(FIRST_PAUSE, self._pause * 2), LAST_PAUSE)
        self._down(reason + (f": {said}" if said else ""))
        if self._ended:
            return
        self._resting = True
        self._set_timer(self._pause, self._rested)
        if first:
            self._tell(self.trouble)

    def _rested(self) -> None:
        self._timer = None
        self._resting = False
        self._go_on(wanted=self._idle is None)

    def _down(self, reason: str | None) -> None:
        """End the process; without a reason it is only not needed."""
        self._cancel_timer()
        if reason is not None:
            self.trouble = reason
        child, self._child = self._child, None
        self._ready = False
        self._buffer = self._printed = b""
        if child is not None:
            self._loop.unwatch(self._pidfd)
            loop, mark, orphans = self._loop, self._mark, self._orphans
            look = lambda: leftovers.remaining(orphans, mark)  # noqa: E731
            # Once it has ended: what it has started is nobody's orphan before.
            gone = lambda: self._kills(-1)  # noqa: E731
            clean = lambda: leftovers.Cleanup(loop, look, gone)  # noqa: E731
            self._kills(1)
            checks.kill(loop, child, self._pidfd, clean)
        self._close()
        if reason is None:
            return
        calls = [*([self._current] if self._current else ()), *self._waiting]
        self._current = None
        self._waiting.clear()
        for call in calls:
            call.done(None, Trouble(reason))

    def _close(self) -> None:
        fds, self._fds = self._fds, []
        for fd in fds:
            self._loop.unwatch(fd)
            os.close(fd)

    def _set_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(seconds, callback)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def line_of(message: object) -> bytes:
    """Return a message as the helper reads it."""
    return json.dumps(message).encode() + b"\n"


SOURCES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def inherited() -> list[str]:
    """Return where else this interpreter was told to look for modules."""
    return os.environ.get("PYTHONPATH", "").split(os.pathsep)
