"""Scheduled processes: started when it is time, never two at once; what was missed is told."""

from __future__ import annotations

import json
import time

from process_supervisor.common.files import read_json, write_atomic
from process_supervisor.config.cron import Cron
from process_supervisor.service.states import SETTLED, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from process_supervisor.common.events import Events
    from process_supervisor.common.loop import EventLoop, Timer
    from process_supervisor.service.process import Process

    class Supervision(Protocol):
        """What it needs of a supervisor."""

        loop: EventLoop
        events: Events
        processes: dict[str, Process]
        stopped_by_operator: set[str]
        monitoring: bool
        shutting_down: bool


# The clock may be set, and a machine may sleep: it is asked again after so many seconds. Who comes
# later than that comes too late.
LOOK = 60.0
SET_BACK = 3600.0
MOST_COUNTED = 100
ENDED = (*SETTLED, State.BACKOFF)


class Job:
    """When a process ran last and runs next, in unix time."""

    def __init__(self, text: str, now: float, saved: Mapping[str, Any]) -> None:
        self.cron = Cron(text)
        # Until when all that was due has been dealt with.
        self.handled = now
        self.skipped = self.missed = 0
        self.last: dict[str, Any] | None = None
        if saved:
            if saved["schedule"] == text:
                self.handled = min(float(saved["handled"]), now + SET_BACK)
            self.skipped, self.missed = int(saved["skipped"]), int(saved["missed"])
            self.last = dict(saved["last"]) if saved["last"] else None
        self.next = self.cron.next(self.handled)

    def due(self, now: float) -> list[float]:
        """Return the moments that have come since the last look, at most `MOST_COUNTED`."""
        if self.handled > now + SET_BACK:
            # The clock was wrong before.
            self.handled, self.next = now, self.cron.next(now)
        found: list[float] = []
        while self.next <= now and len(found) < MOST_COUNTED:
            found.append(self.next)
            self.handled, self.next = self.next, self.cron.next(self.next)
        if self.next <= now:
            self.handled, self.next = now, self.cron.next(now)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return what is kept of it."""
        return {
            "schedule": self.cron.text, "handled": self.handled, "skipped": self.skipped,
            "missed": self.missed, "last": self.last,
        }  # fmt: skip


class Schedules:
    """The jobs of a supervisor, and one timer for all."""

    def __init__(self, supervisor: Supervision, path: str) -> None:
        self._supervisor = supervisor
        self._path = path
        self._jobs: dict[str, Job] = {}
        self._timer: Timer | None = None

    def configure(self, wanted: Mapping[str, str]) -> None:
        """Have these processes run by these schedules."""
        now = time.time()
        saved = read_json(self._path).get("jobs")
        found = saved if isinstance(saved, dict) else {}
        self._jobs = {name: job(text, now, found.get(name)) for name, text in wanted.items()}
        self._save()
        self._supervisor.loop.call_soon(self.look)

    def look(self) -> None:
        """Start what is due, and come again when the next one is."""
        if self._timer is not None:
            self._timer.cancel()
        if self._supervisor.shutting_down or not self._jobs:
            return
        now = time.time()
        came = {name: due for name, job in self._jobs.items() if (due := job.due(now))}
        for name, due in came.items():
            self._came(name, self._jobs[name], due, now)
        if came:
            self._save()
        soonest = min(job.next for job in self._jobs.values())
        pause = min(LOOK, max(0.0, soonest - time.time()))
        self._timer = self._supervisor.loop.call_later(pause, self.look)

    def _came(self, name: str, job: Job, due: list[float], now: float) -> None:
        """Deal with moments that have come."""
        process = self._supervisor.processes[name]
        if name in self._supervisor.stopped_by_operator or not self._supervisor.monitoring:
            return
        late = now - due[-1] > LOOK
        missed = len(due) if late else len(due) - 1
        if missed:
            job.missed += missed
            many = "at least " if len(due) == MOST_COUNTED else ""
            last = due[-1] if late else due[-2]
            reason = f"missed {many}{missed}, the last of them of {clock(last)}"
            done = True if late and process.config.run_missed else None
            self._supervisor.events.add("missed", name, reason=reason, done=done)
        if late and not process.config.run_missed:
            return
        if not process.quiet:
            job.skipped += 1
            reason = f"that of {clock(due[-1])} is left out: it is still {process.state}"
            self._supervisor.events.add("skipped", name, reason=reason)
            return
        process.start()

    def changed(self, process: Process, old: State) -> None:
        """Note how a run ended, if one has."""
        job = self._jobs.get(process.name)
        if job is None or old is State.STOPPED or process.state not in ENDED:
            return
        ended = process.exit or {"code": None, "signal": None, "at": round(time.time(), 3)}
        started = process.started_at if process.exit else None
        job.last = {**ended, "started_at": started, "reason": process.reason}
        self._save()

    def status_of(self, name: str) -> dict[str, Any] | None:
        """Return what the status shows, None of what has no schedule."""
        job = self._jobs.get(name)
        if job is None:
            return None
        stopped = name in self._supervisor.stopped_by_operator
        return {
            "schedule": job.cron.text, "next": None if stopped else job.next, "last": job.last,
            "skipped": job.skipped, "missed": job.missed,
        }  # fmt: skip

    def _save(self) -> None:
        jobs = {name: job.as_dict() for name, job in self._jobs.items()}
        try:
            write_atomic(self._path, json.dumps({"version": 1, "jobs": jobs}) + "\n", 0o644)
        except OSError as error:
            self._supervisor.events.add("error", reason=f"cannot save {self._path}: {error}")


def job(text: str, now: float, saved: object) -> Job:
    """Return a job with what is known of it; what is not as it was written is left out."""
    try:
        return Job(text, now, saved if isinstance(saved, dict) else {})
    except (
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        OSError,
    ):  # the last for no clock's time
        return Job(text, now, {})


def clock(at: float) -> str:
    """Return a moment as local time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
