"""The status of a process as plain data, the form that the protocol documents."""

from __future__ import annotations

import time

from process_supervisor.common import procfs
from process_supervisor.service.memory import REMEMBERED, told
from process_supervisor.service.states import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from process_supervisor.service.process import Process

SHORTEST_SPAN = 0.2
# As many facts are read in the time in which the children of one process are found.
MANY = 3


class Usage:
    """CPU shares between two looks at a process, because a share needs a span of time."""

    def __init__(self) -> None:
        self._looks: dict[str, tuple[int, float, int, float]] = {}
        self._all: tuple[float, procfs.Everybody | None] = (-SHORTEST_SPAN, None)

    def cpu_percent(self, process: Process, ticks: int) -> float:
        """Return the share of one CPU used since the last look, or since the start at the first."""
        assert process.pid is not None
        now = time.monotonic()
        pid, at, before, percent = self._looks.get(process.name, (0, 0.0, 0, 0.0))
        if pid != process.pid:
            at, before, percent = process.started, 0, 0.0
        if now - at < SHORTEST_SPAN:
            return percent
        percent = round(max(0, ticks - before) / procfs.TICKS / (now - at) * 100, 1)
        self._looks[process.name] = (process.pid, now, ticks, percent)
        return percent

    def everybody_for(self, processes: Collection[Process]) -> procfs.Everybody | None:
        """Return `everybody_for` these, or what it was a moment ago, for those who ask together."""
        now = time.monotonic()
        if self._all[1] is None or now - self._all[0] >= SHORTEST_SPAN:
            self._all = (now, everybody_for(processes))
        return self._all[1]


def measure(pid: int, everybody: procfs.Everybody | None = None) -> tuple[int, int]:
    """Return CPU ticks and resident bytes of a process and everything below it.

    Memory that processes share is counted once for each.
    """
    if everybody is None or pid not in everybody.facts:
        everybody = procfs.Everybody(procfs.descendants([pid]))
    family = everybody.below(pid)
    return sum(facts.ticks for facts in family), sum(facts.resident for facts in family)


def everybody_for(processes: Collection[Process]) -> procfs.Everybody | None:
    """Return all there are where that is less to read than to look for so many's children."""
    pids = list(procfs.all_pids())
    return procfs.Everybody(pids) if len(pids) < MANY * len(processes) else None


def ending(process: Process) -> str | None:
    """Say how long a process that is being stopped may still take."""
    left = process.deadline - process.supervisor.loop.time()
    if process.state is not State.STOPPING or left <= 0:
        return None
    return f"{process.reason or 'stopping'}, may take {left:.0f} s to end"


def shortage(process: Process) -> str | None:
    """Say that memory lacked within the last day: for it, or for something of its container."""
    since = time.time() - REMEMBERED
    if process.lacked_memory and process.lacked_memory > since:
        return told(process.lacked_memory)
    at = process.supervisor.shortage.at
    if process.pid and at and at > since:
        return told(at, "a process of its container")
    return None


def resting(process: Process, schedule: Mapping[str, Any]) -> str:
    """Say when a scheduled process that does not run does so next, after what else there is."""
    at = schedule["next"]
    coming = time.strftime("runs at %Y-%m-%d %H:%M", time.localtime(at)) if at else None
    return ", ".join(text for text in (process.reason, coming) if text)


def status_of(
    process: Process, usage: Usage | None, everybody: procfs.Everybody | None = None
) -> dict[str, Any]:
    """Return everything about a process that somebody outside may want to know.

    Without `usage` its CPU share and its memory are left out, which take the most time.
    """
    pid = process.pid
    used: dict[str, object] = {}
    if usage is not None:
        ticks, memory = measure(pid, everybody) if pid else (0, 0)
        percent = usage.cpu_percent(process, ticks) if pid else 0.0
        used = {"cpu_percent": percent, "memory_bytes": memory}
    config = process.config
    schedule = process.supervisor.scheduled(process.name)
    return {
        "name": process.name,
        "group": config.group,
        "state": str(process.state),
        "health": str(process.health),
        "wanted": "up" if process.wanted else "down",
        "pid": pid,
        "started_at": process.started_at if pid else None,
        "uptime": round(process.supervisor.loop.time() - process.started, 3) if pid else 0.0,
        "restarts": process.restarts,
        "exit": process.exit,
        "reason": (
            ending(process)
            or process.reason
            or process.health_reason
            or process.output.problem()
            or shortage(process)
        )
        if pid or not schedule
        else resting(process, schedule),
        "schedule": schedule,
        "memory_kills": process.memory_kills,
        **used,
        "ports": config.ports,
        "autorestart": config.autorestart,
        "autostart": config.autostart,
        "labels": config.labels,
        "depends_on": config.depends_on,
        "log_tail": process.log_tail if process.state is State.FATAL else [],
        "stdout_logfile": process.output.path_of("stdout"),
        "stderr_logfile": process.output.path_of("stderr"),
    }
