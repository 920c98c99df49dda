"""The steady rate: when which request is due, whatever became of those before it."""

from __future__ import annotations

from collections.abc import Callable

from moorage.probe.client import Client
from moorage.probe.target import UNSENT, Sample

#: How late a request may be sent; one that is later is counted as unsent.
LATE_SECONDS = 0.25


class Pace:
    """An open loop: request n is due at ``started + n / rate``, one target after the other.

    A slow answer never delays a later request. Each target is asked alternately on a fresh
    connection and on one that is kept alive. At most ``limit`` requests are under way; what cannot
    be sent for that reason, or is later than `LATE_SECONDS`, is reported as unsent.
    """

    def __init__(
        self,
        client: Client,
        targets: int,
        rate: float,
        limit: int,
        report: Callable[[Sample], None],
    ) -> None:
        self._client = client
        self._targets = targets
        self._interval = 1.0 / rate
        self.limit = limit
        self._report = report
        self._started: float | None = None
        self._count = 0

    def send_due(self, now: float) -> float:
        """Send what is due; return the seconds until the next request is (never negative)."""
        if self._started is None:
            self._started = now
        while (due := self._started + self._count * self._interval) <= now:
            index = self._count % self._targets
            kept = bool(self._count // self._targets % 2)
            self._count += 1
            if now - due > LATE_SECONDS:
                self._unsent(now, index, f"{now - due:.2f} s late: the prober did not get to run")
            elif len(self._client) >= self.limit:
                self._unsent(now, index, f"{self.limit} requests were waiting for an answer")
            else:
                self._client.begin(index, kept=kept)
        return due - now

    def _unsent(self, now: float, index: int, why: str) -> None:
        self._report(Sample(now, now, index, UNSENT, False, why))
