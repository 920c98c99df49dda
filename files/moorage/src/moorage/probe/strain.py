"""Whether the host has time to spare: what else than a release makes answers late."""

from __future__ import annotations

from pathlib import Path

from moorage.probe.target import Busy

#: How often it is looked at.
BEAT_SECONDS = 0.25
# With less of all processors' time idle, whatever is to run waits for its turn.
_IDLE = 0.05
# The prober comes before others; when it waits that much, they wait more.
_WAITED = 0.2
_IDLE_FIELDS = slice(3, 5)  # proc_stat(5): idle, iowait
_COUNTED_FIELDS = slice(0, 8)  # to steal; what guests use is in user already


class Strain:
    """Looks at the host at every beat; what is not there to look at tells nothing."""

    def __init__(self, now: float, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._last = now
        self._processors = self._processor_time()
        self._waited = self._wait_seconds()

    def look(self, now: float) -> Busy | None:
        """Return what the time since the last look was like where it was busy; None else.

        To be called often: it is what shows that this process got to run.
        """
        passed = now - self._last
        if passed < BEAT_SECONDS:
            return None
        began, self._last = self._last, now
        (idle, total), waited = self._processors, self._waited
        self._processors, self._waited = self._processor_time(), self._wait_seconds()
        idle, total = self._processors[0] - idle, self._processors[1] - total
        waited = self._waited - waited
        if passed > 2 * BEAT_SECONDS:
            return Busy(began, now, f"the prober did not get to run for {passed:.2f} s")
        if waited > _WAITED * passed:
            return Busy(began, now, f"the prober waited {waited:.2f} s for a processor")
        if total and idle < _IDLE * total:
            return Busy(began, now, f"{100 * idle / total:.0f} % of its processors' time was idle")
        return None

    def _processor_time(self) -> tuple[int, int]:
        """Return how much of all processors' time was idle, and how much there was."""
        try:
            line = (self._proc / "stat").read_text().partition("\n")[0]
            fields = [int(field) for field in line.split()[1:]]
        except (OSError, ValueError):
            return 0, 0
        return sum(fields[_IDLE_FIELDS]), sum(fields[_COUNTED_FIELDS])

    def _wait_seconds(self) -> float:
        """Return how long this process could have run and did not (schedstats, nanoseconds)."""
        try:
            return int((self._proc / "self/schedstat").read_text().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0
