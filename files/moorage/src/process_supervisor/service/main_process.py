"""The main process of a service while it lives: its pidfd, signals to it and how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from process_supervisor.common import procfs
from process_supervisor.config.places import SOCKET_VARIABLE
from process_supervisor.service.checks import kill_group
from process_supervisor.service.spawn import can_be_quick, identity_of, quickly, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from process_supervisor.common.loop import EventLoop
    from process_supervisor.config.settings import Config, ProcessConfig
    from process_supervisor.guardian.link import GuardianLink
    from process_supervisor.output.streams import Output

    class Home(Protocol):
        """What a main process needs of the supervisor."""

        config: Config
        loop: EventLoop
        guardian: GuardianLink

    OnEnd = Callable[["Ending"], None]

# What a shell ends with whose child was killed.
_SHELL_KILLED = 128 + signal.SIGKILL
# When to look for the exit status of an adopted process, in seconds after each other.
ADOPTED_LOOKS = (0.002, 0.01, 0.05, 0.2, 1.0)


class Ending:
    """How and when a process ended; code and signal are both None when nobody knows."""

    __slots__ = ("at", "code", "signal")

    def __init__(self, code: int | None, signal: int | None, at: float) -> None:
        self.code = code
        self.signal = signal
        self.at = at

    @classmethod
    def of_record(cls, record: tuple[int, float] | None) -> Ending:
        """Build from a wait status and its unix time, or from nothing."""
        if record is None:
            return cls(None, None, time.time())
        code = os.waitstatus_to_exitcode(record[0])
        return cls(code if code >= 0 else None, -code if code < 0 else None, record[1])

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it, or a child of its whose end a shell has passed on."""
        return self.signal == signal.SIGKILL or self.code == _SHELL_KILLED

    def as_dict(self) -> dict[str, object]:
        """Return the form that the status has."""
        return {"code": self.code, "signal": self.signal, "at": round(self.at, 3)}

    def describe(self) -> str:
        """Say in words how it ended."""
        if self.signal is not None:
            try:
                return f"killed by {signal.Signals(self.signal).name}"
            except ValueError:
                return f"killed by signal {self.signal}"
        if self.code is None:
            return "ended, exit status unknown (whoever reaped it left no record)"
        return f"exited with status {self.code}"


class MainProcess:
    """A living process; on_end is called once, from the loop, when it has ended."""

    def __init__(self, home: Home, pid: int, pidfd: int, start_ticks: int, adopted: bool) -> None:
        self.pid = pid
        self.start_ticks = start_ticks
        self.adopted = adopted
        self.kill_group_at_end = True
        self.on_end: OnEnd = lambda ending: None
        self._home = home
        self._pidfd = pidfd
        home.loop.watch(pidfd, self._ended)

    @classmethod
    def start(cls, home: Home, config: ProcessConfig, output: Output, mark: int) -> MainProcess:
        """Run a process's command; raises SpawnError or OSError."""
        variables = {SOCKET_VARIABLE: home.config.socket}
        if can_be_quick(config):
            pid = quickly(config, output.ends(), mark, variables)
        else:
            identity = identity_of(config)
            ends = output.open_ends(identity.uid if identity else None)
            try:
                child = run(config, config.command, ends, mark, variables)
            finally:
                for end in ends:
                    os.close(end)
            # The exit status is collected through the pidfd; subprocess must not look for it too.
            child.returncode = 0
            pid = child.pid
        return cls(home, pid, os.pidfd_open(pid), procfs.start_ticks(pid), adopted=False)

    @classmethod
    def adopt(cls, home: Home, pid: int, start_ticks: int) -> MainProcess | None:
        """Take over what an earlier supervisor started; None when it is gone."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return None
        # Compared after the pidfd is open: from then on the number cannot become another's.
        if procfs.start_ticks(pid) != start_ticks:
            os.close(pidfd)
            return None
        return cls(home, pid, pidfd, start_ticks, adopted=True)

    def send(self, number: int) -> None:
        """Send a signal through the pidfd: never to another process that has the number now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(self._pidfd, number)

    def _ended(self) -> None:
        self._home.loop.unwatch(self._pidfd)
        if self.adopted:
            self._await_record(iter(ADOPTED_LOOKS))
            return
        # Before it is reaped: a zombie still owns its number, so the group is surely its own.
        if self.kill_group_at_end:
            kill_group(self.pid)
        found = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        killed = found is not None and found.si_code != os.CLD_EXITED
        status = found.si_status if found is not None else 0
        self._report(Ending(None if killed else status, status if killed else None, time.time()))

    def _await_record(self, delays: Iterator[float]) -> None:
        """Look for the exit status where the guardian or the kernel keeps it."""
        record = self._home.guardian.ended(self.pid, self.start_ticks)
        if record is None:
            status = procfs.exit_information(self._pidfd)
            record = (status, time.time()) if status is not None else None
        delay = None if record is not None else next(delays, None)
        if delay is None:
            self._report(Ending.of_record(record))
        else:
            self._home.loop.call_later(delay, lambda: self._await_record(delays))

    def _report(self, ending: Ending) -> None:
        os.close(self._pidfd)
        self.on_end(ending)
