"""Restarting one process after the other: the next only when the one before it is well."""

from __future__ import annotations

from process_supervisor.service.states import SETTLED, Health, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from process_supervisor.common.events import Events
    from process_supervisor.common.loop import EventLoop
    from process_supervisor.service.process import Process

    class Supervision(Protocol):
        """What it needs of a supervisor."""

        loop: EventLoop
        events: Events
        processes: dict[str, Process]
        listeners: list[Callable[[], None]]
        leaving: set[str]
        rolling: list[Rolling]
        shutting_down: bool

        def restart(self, name: str) -> None: ...


class Rolling:
    """A rolling restart under way; done(None) when all are well, done(problem) at the first fault.

    ``patience`` is the seconds that each may take to stop, to start and to become healthy. What
    is stopped, or has ended as it should, is left so. Raises ValueError where one of the processes
    is in such a restart already. It ends with the supervisor: the next one does not go on with it.
    """

    def __init__(
        self,
        supervisor: Supervision,
        names: Sequence[str],
        patience: float,
        done: Callable[[str | None], None],
    ) -> None:
        self.names = list(names)
        busy = {name for other in supervisor.rolling for name in other.names}
        if both := [name for name in names if name in busy]:
            raise ValueError(f"a rolling restart of {', '.join(both)} is under way")
        self._left = list(names)
        self._supervisor = supervisor
        self._patience = patience
        self._done = done
        self._current: Process | None = None
        self._pid: int | None = None
        self._timer = supervisor.loop.call_later(0, self._next)
        supervisor.rolling.append(self)
        supervisor.listeners.append(self._look)

    def _next(self) -> None:
        self._timer.cancel()
        self._current = self._pid = None
        while self._left:
            process = self._supervisor.processes.get(self._left.pop(0))
            if process is not None and process.wanted and process.state is not State.EXITED:
                break
        else:
            self._end(None)
            return
        self._current = process
        self._timer = self._supervisor.loop.call_later(self._patience, self._too_long)
        self._supervisor.restart(process.name)

    def _look(self) -> None:
        process = self._current
        if process is None:
            return
        if self._pid is None and process.state is State.RUNNING:
            self._pid = process.pid
        if problem := self._problem(process):
            self._end(f"{process.name} {problem}")
        elif well(process) and process.pid == self._pid:
            self._next()

    def _problem(self, process: Process) -> str | None:
        """Say why a process will not become well, None while it may."""
        gone = self._supervisor.shutting_down or process.name in self._supervisor.leaving
        if gone or not process.wanted:
            return "is being stopped"
        ended = process.state in (*SETTLED, State.BACKOFF)
        if ended or process.health is Health.UNHEALTHY or self._pid not in (None, process.pid):
            why = process.reason or process.health_reason
            return f"did not get well, it is {process.state}" + (f": {why}" if why else "")
        return None

    def _too_long(self) -> None:
        process = self._current
        assert process is not None
        why = process.health_reason or process.reason or f"its health is {process.health}"
        self._end(
            f"{process.name} was not well after {self._patience:g} s, it is {process.state}: {why}"
        )

    def _end(self, problem: str | None) -> None:
        self._timer.cancel()
        supervisor = self._supervisor
        supervisor.rolling.remove(self)
        supervisor.listeners.remove(self._look)
        if problem is not None and self._left:
            problem += f"; left as they were: {', '.join(self._left)}"
        text = problem or "all are well"
        supervisor.events.add("rolling restart ended", processes=self.names, reason=text)
        self._done(problem)


def well(process: Process) -> bool:
    """Whether a process has started and is healthy, as far as it can be asked for that."""
    return process.has_started and process.health in (Health.NONE, Health.HEALTHY)
