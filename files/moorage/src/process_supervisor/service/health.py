"""Health: the verdict as a pure state machine, and the timers and checks that feed it."""

from __future__ import annotations

from process_supervisor.service import checks
from process_supervisor.service.states import Health

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from process_supervisor.common.loop import EventLoop
    from process_supervisor.config.health import HealthConfig
    from process_supervisor.config.settings import ProcessConfig


class HealthState:
    """The health of one run of a process that started at `started` (any monotonic clock).

    As in Docker: failures do not count during the start period, until the first success; checks
    come every `start_interval` during it and every `interval` after.
    """

    __slots__ = ("config", "failures", "reason", "started", "status")

    def __init__(
        self, config: HealthConfig, started: float, status: Health = Health.STARTING
    ) -> None:
        self.config = config
        self.started = started
        self.status = status
        self.failures = 0
        self.reason = ""

    def succeeded(self) -> None:
        """Take note of a check that passed."""
        self.status = Health.HEALTHY
        self.failures = 0
        self.reason = ""

    def failed(self, now: float, reason: str) -> None:
        """Take note of a check that did not pass; enough of them in a row are unhealthy."""
        self.reason = reason
        if self._in_start_period(now):
            return
        self.failures += 1
        if self.failures >= self.config.retries:
            self.status = Health.UNHEALTHY

    def unknown(self, reason: str) -> None:
        """Take note of a check that could not be made: that is no fault of the process's."""
        self.reason = reason

    def delay(self, now: float) -> float:
        """Return the seconds until the next check."""
        if self._in_start_period(now):
            return self.config.start_interval
        return self.config.interval

    def _in_start_period(self, now: float) -> bool:
        period = self.config.start_period
        return self.status is Health.STARTING and now - self.started < period


class HealthWatch:
    """The timers and checks of one run; on_change(old) is called when the verdict changes."""

    def __init__(
        self,
        loop: EventLoop,
        process: ProcessConfig,
        check: HealthConfig,
        mark: int,
        health: HealthState,
        on_change: Callable[[Health], None],
        pid: int = 0,
        ask: checks.Ask = checks.no_plugin,
    ) -> None:
        self.health = health
        self._ask = ask
        self._pid = pid
        self._loop = loop
        self._process = process
        self._config = check
        self._mark = mark
        self._on_change = on_change
        self._check: checks.Running | None = None
        self._ended = False
        first = health.delay(loop.time()) if health.status is Health.STARTING else check.interval
        self._timer = loop.call_later(min(first, check.interval), self._begin)

    def end(self) -> None:
        """Stop checking."""
        self._ended = True
        self._timer.cancel()
        if self._check is not None:
            self._check.cancel()
            self._check = None

    def _begin(self) -> None:
        self._check = checks.begin(
            self._loop, self._config, self._checked, self._process, self._mark, self._pid,
            self._ask,
        )  # fmt: skip

    def _checked(self, problem: str | None) -> None:
        self._check = None
        now, old = self._loop.time(), self.health.status
        if problem is None:
            self.health.succeeded()
        elif isinstance(problem, checks.Unknown):
            self.health.unknown(problem)
        else:
            self.health.failed(now, problem)
        if self.health.status is not old:
            self._on_change(old)
        if not self._ended:
            self._timer = self._loop.call_later(self.health.delay(now), self._begin)
