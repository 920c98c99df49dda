"""Keeps checking one running process and reports what changes."""

from __future__ import annotations

from process_supervisor import checks
from process_supervisor.health import HealthState
from process_supervisor.states import Health

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from process_supervisor.config import HealthConfig, ProcessConfig
    from process_supervisor.loop import EventLoop


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
    ) -> None:
        self.health = health
        self._loop = loop
        self._process = process
        self._config = check
        self._mark = mark
        self._on_change = on_change
        self._check: checks.Check | None = None
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
            self._loop, self._config, self._checked, self._process, self._mark
        )

    def _checked(self, problem: str | None) -> None:
        self._check = None
        now, old = self._loop.time(), self.health.status
        if problem is None:
            self.health.succeeded()
        else:
            self.health.failed(now, problem)
        if self.health.status is not old:
            self._on_change(old)
        if not self._ended:
            self._timer = self._loop.call_later(self.health.delay(now), self._begin)
