"""Health as a pure state machine: results of checks in, verdict and next delay out."""

from __future__ import annotations

from process_supervisor.states import Health

TYPE_CHECKING = False
if TYPE_CHECKING:
    from process_supervisor.config import HealthConfig


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

    def delay(self, now: float) -> float:
        """Return the seconds until the next check."""
        if self._in_start_period(now):
            return self.config.start_interval
        return self.config.interval

    def _in_start_period(self, now: float) -> bool:
        period = self.config.start_period
        return self.status is Health.STARTING and now - self.started < period
