"""One supervised process: its state, and what follows each start and end of its main process."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

from process_supervisor.common import procfs
from process_supervisor.config.signals import signal_named
from process_supervisor.output.streams import Output
from process_supervisor.service import memory, policy
from process_supervisor.service.health import HealthState, HealthWatch
from process_supervisor.service.leftovers import Cleanup, remaining
from process_supervisor.service.main_process import Ending, MainProcess
from process_supervisor.service.spawn import SpawnError
from process_supervisor.service.states import SETTLED, Health, State, check_transition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    from process_supervisor.common.events import Events
    from process_supervisor.common.loop import Timer
    from process_supervisor.config.settings import ProcessConfig
    from process_supervisor.service.checks import Done, Running
    from process_supervisor.service.main_process import Home
    from process_supervisor.service.memory import Shortage

    class Supervision(Home, Protocol):
        """What a process asks and tells the supervisor; Supervisor does it."""

        key: str
        monitoring: bool
        events: Events
        shortage: Shortage
        completed: set[str]
        stopped_by_operator: set[str]

        def waiting_for(self, process: Process) -> str | None: ...
        def waits(self, process: Process, reason: str) -> None: ...
        def changed(
            self, process: Process, old: State, reason: str | None, facts: Mapping[str, object]
        ) -> None: ...
        def health_changed(self, process: Process, old: Health, health: HealthState) -> None: ...
        def note_completed(self, name: str, done: bool) -> None: ...
        def lacked_memory(self) -> bool: ...
        def orphans(self) -> list[int]: ...
        def left(self, mark: int) -> bool: ...
        def touch(self) -> None: ...
        def scheduled(self, name: str) -> dict[str, Any] | None: ...
        def ask_plugin(self, process: Process, plugin: str, done: Done) -> Running: ...


CHECK_SUFFIX = "#check"


class Process:
    """A process under supervision. Everything here runs in the loop's thread."""

    def __init__(self, config: ProcessConfig, supervisor: Supervision) -> None:
        self.config = config
        self.supervisor = supervisor
        hold = supervisor.guardian.hold_fifos
        self.output = Output(supervisor.loop, config, supervisor.config, hold)
        self.state = State.STOPPED
        self.wanted = False
        self.reason: str | None = None
        self.main: MainProcess | None = None
        self.started_at: float | None = None
        self.started = 0.0
        self.restarts = 0
        self.failures = 0  # restarts since it has been well for long
        self.well_since: float | None = None
        self.exit: dict[str, object] | None = None
        self.log_tail: list[str] = []
        self.retry_at: float | None = None
        self.lacked_memory: float | None = None  # when the kernel last killed it for that
        self.memory_kills = 0
        self.turn: bool | None = None  # see `procfs.TURN`; None where nobody knows
        self._after: Callable[[], None] | None = None  # what a STOPPING process becomes
        self.deadline = 0.0
        self._timer: Timer | None = None
        self._watch: HealthWatch | None = None
        self._cleanup: Cleanup | None = None

    @property
    def name(self) -> str:
        """The process's name."""
        return self.config.name

    @property
    def pid(self) -> int | None:
        """The main process's pid while it lives."""
        return self.main.pid if self.main else None

    @property
    def has_started(self) -> bool:
        """Whether it has run for as long as counts as a start."""
        ran = self.supervisor.loop.time() - self.started
        return self.state is State.RUNNING and ran >= self.config.start_seconds

    @property
    def mark(self) -> int:
        """The marker that its family carries."""
        return procfs.family(self.supervisor.key, self.name)

    @property
    def quiet(self) -> bool:
        """Whether nothing of it runs or is about to."""
        return self.state in SETTLED and self._cleanup is None

    def become(self, state: State, reason: str | None = None, **facts: object) -> None:
        """Take a step that the table of transitions allows, and record it."""
        check_transition(self.name, self.state, state)
        old, self.state, self.reason = self.state, state, reason
        self.supervisor.changed(self, old, reason, facts)

    # Starting

    def start(self) -> None:
        """Want it up: start it, or note what it waits for. Nothing happens to a running one."""
        self.wanted = True
        if self.state is State.STOPPING:
            self._after = self._stopped_then_start
            return
        if self.state is State.RUNNING:
            return
        self._cancel_timer()
        if self.state is not State.STARTING:
            self.failures = 0
            self.become(State.STARTING)
        self.proceed()

    def proceed(self) -> None:
        """Go on with a start that may have been waiting."""
        if self.state is not State.STARTING:
            return
        waiting = self.supervisor.waiting_for(self)
        if self._cleanup is not None:
            waiting = "waiting for processes of the last run to end"
        if waiting is None:
            self._launch()
        elif waiting != self.reason:
            self.reason = waiting
            self.supervisor.waits(self, waiting)

    def _launch(self) -> None:
        self.turn = not self.turn
        mark = self.mark | procfs.TURN if self.turn else self.mark
        try:
            main = MainProcess.start(self.supervisor, self.config, self.output, mark)
        except (SpawnError, OSError) as error:
            self.exit = None
            self._failed(str(error))
            return
        self.exit, self.log_tail = None, []
        self.started_at = time.time()
        self.started = self.supervisor.loop.time()
        self.well_since = None if self.config.health_check else self.started
        self._attach(main)
        self.become(State.RUNNING, pid=main.pid)
        if self.config.start_seconds:
            # Whoever waits for that hears of it: nothing else happens then.
            self.supervisor.loop.call_later(self.config.start_seconds, self.supervisor.touch)
        self._begin_health(Health.STARTING)

    def _attach(self, main: MainProcess) -> None:
        self.main = main
        main.on_end = self.ended

    def adopt(self, pid: int, start_ticks: int, health: Health) -> bool:
        """Take over a main process that an earlier supervisor started; False when it is gone."""
        main = MainProcess.adopt(self.supervisor, pid, start_ticks)
        if main is None:
            return False
        self._attach(main)
        if self.state is State.RUNNING:
            if health in (Health.HEALTHY, Health.NONE):
                self.well_since = self.started
            self._begin_health(health)
        return True

    # Ending

    def ended(self, ending: Ending) -> None:
        """Decide what follows the end of the main process."""
        self._follow(ending)
        # After a new start: the FIFO is the same, and nobody has heard of either yet.
        self.output.drain()

    def _follow(self, ending: Ending) -> None:
        self._end_health()
        self.main = None
        self.exit = ending.as_dict()
        how = ending.describe()
        hurried = self.state is State.STOPPING and not self.deadline
        if ending.killed and not hurried and self.supervisor.lacked_memory():
            self.lacked_memory = ending.at
            self.memory_kills += 1
            how += ", for want of memory"
            self.supervisor.events.add("oom", self.name, reason=memory.told(ending.at))
        if self.state is State.STOPPING:
            self.clean(signal_named(self.config.stop_signal), self.deadline)
            if self._cleanup is None:
                self._settle()
            return
        self.clean()
        self._failed(how, failed=ending.code != 0)

    def _failed(self, how: str, failed: bool = True) -> None:
        """Apply the restart policy to an end, or to a start that did not work."""
        now = self.supervisor.loop.time()
        ran = now - self.well_since if self.exit is not None and self.well_since else 0.0
        self.failures = policy.remembered(self.config, self.failures, ran)
        decision = policy.decide(self.config, self.failures, failed, chance())
        if failed and self.name in self.supervisor.completed:
            # It ended well as it is, before the last boot perhaps: what it needs is not there yet.
            pause = policy.delay_before(self.config, self.failures, chance())
            decision = policy.Decision(policy.Action.RESTART, pause)
        if decision.action is policy.Action.RESTART:
            self.failures += 1
            self.restarts += 1
            self.become(State.BACKOFF, how, exit=self.exit, delay=round(decision.delay, 3))
            self._retry_at(now + decision.delay)
        elif decision.action is policy.Action.LEAVE and self.exit is not None:
            self.become(State.EXITED, how, exit=self.exit)
            if not failed:
                self.supervisor.note_completed(self.name, True)
        else:
            self.log_tail = self.output.last_lines()
            gave_up = decision.action is policy.Action.GIVE_UP
            why = f"{decision.reason}; last: {how}" if gave_up else how
            self.become(State.FATAL, why, exit=self.exit)

    def _retry_at(self, when: float) -> None:
        """Start again at a time on the loop's clock, as soon as nothing of the last run is left."""
        self.retry_at = when
        if when <= self.supervisor.loop.time():
            self._retry()
        else:
            self._timer = self.supervisor.loop.call_at(when, self._retry)

    def _retry(self) -> None:
        self.retry_at = None
        if not self.supervisor.monitoring:
            return
        if self.state is State.BACKOFF and self._cleanup is None:
            self.become(State.STARTING)
            self._launch()

    def resume_backoff(self) -> None:
        """Go on waiting as the supervisor before did."""
        self._retry_at(self.retry_at if self.retry_at is not None else self.supervisor.loop.time())

    # Stopping

    def stop(self, then_start: bool = False, grace: float | None = None) -> None:
        """Stop it, and start it again if asked. grace replaces the configured one, in seconds."""
        self.wanted = then_start
        after = self._stopped_then_start if then_start else self._stopped
        if self.state is State.RUNNING:
            self._terminate("stopping", after, grace)
        elif self.state is State.STOPPING:
            self._after = after
            if grace is not None:
                self._kill()
        else:
            self._cancel_timer()
            if self.state is not State.STOPPED:
                self._stopped()
            if then_start:
                self.start()

    def _terminate(
        self, reason: str, after: Callable[[], None], grace: float | None = None
    ) -> None:
        """Ask it to end; when the grace period is over, kill the whole family."""
        self._end_health()
        self._after = after
        self.become(State.STOPPING, reason)
        self.continue_stop(grace)

    def continue_stop(self, grace: float | None = None) -> None:
        """Send the stop signal, also after a supervisor died in the middle of a stop."""
        assert self.main is not None
        self.main.kill_group_at_end = False
        self.main.send(signal_named(self.config.stop_signal))
        self.main.send(signal.SIGCONT)  # a stopped process could not act on the signal
        grace = self.config.stop_grace if grace is None else grace
        self.deadline = self.supervisor.loop.time() + grace
        self._timer = self.supervisor.loop.call_at(self.deadline, self._kill)

    def _kill(self) -> None:
        """The grace period is over."""
        self.deadline = 0.0
        self._cancel_timer()
        if self.main is not None:
            self.supervisor.events.add("killed", self.name, reason="the grace period is over")
            self.main.send(signal.SIGKILL)
        if self._cleanup is not None:
            self._cleanup.hurry()

    def _settle(self) -> None:
        self._cancel_timer()
        # None after a supervisor died in the middle of a stop.
        after = self._after or (self._stopped_then_start if self.wanted else self._stopped)
        self._after = None
        after()

    def _stopped(self) -> None:
        by_operator = self.name in self.supervisor.stopped_by_operator
        self.become(State.STOPPED, "stopped by an operator" if by_operator else None)

    def _stopped_then_start(self) -> None:
        self._stopped()
        self.start()

    # What is left of the family

    def family(self) -> list[int]:
        """Return the living processes of this service that its main process left behind."""
        return remaining(self.supervisor.orphans, self.mark)

    def clean(self, polite: int | None = None, until: float = 0.0) -> None:
        """End what is left; what comes next waits for it."""
        self._cleanup = None
        if not self.supervisor.left(self.mark):
            return
        cleanup = Cleanup(self.supervisor.loop, self.family, self._cleaned, polite, until)
        if cleanup.pending:
            self._cleanup = cleanup

    def _cleaned(self) -> None:
        if self._cleanup is None:
            return  # nothing was left: the caller goes on by itself
        self.supervisor.events.add("cleaned", self.name, processes=self._cleanup.found)
        self._cleanup = None
        self.supervisor.touch()
        if self.state is State.STOPPING:
            self._settle()
        elif self.state is State.BACKOFF and self.retry_at is None:
            self._retry()

    # Health

    @property
    def health(self) -> Health:
        """What the health check says."""
        return self._watch.health.status if self._watch else Health.NONE

    @property
    def health_reason(self) -> str:
        """Why the last check did not pass, empty when it did."""
        return self._watch.health.reason if self._watch else ""

    def _begin_health(self, status: Health) -> None:
        config = self.config.health_check
        if config is None:
            return
        mark = procfs.family(self.supervisor.key, self.name + CHECK_SUFFIX)
        state = HealthState(config, self.started, status)
        self._watch = HealthWatch(
            self.supervisor.loop, self.config, config, mark, state, self._health_changed,
            self.pid or 0, partial(self.supervisor.ask_plugin, self),
        )  # fmt: skip

    def _end_health(self) -> None:
        if self._watch is not None:
            self._watch.end()
            self._watch = None

    def _health_changed(self, old: Health) -> None:
        assert self._watch is not None
        health = self._watch.health
        self.supervisor.health_changed(self, old, health)
        if health.status is Health.HEALTHY and old is Health.STARTING:
            self.well_since = self.supervisor.loop.time()
        restart = health.config.restart_when_unhealthy and self.supervisor.monitoring
        if health.status is Health.UNHEALTHY and restart:
            reason = f"unhealthy: {health.reason}"
            self._terminate(reason, lambda: self._failed(reason))

    def reconfigure(self, config: ProcessConfig) -> None:
        """Use settings that do not need the process to be started again."""
        old, self.config = self.config.as_dict()["health_check"], config
        try:
            self.output.reconfigure(config)
        except OSError as error:
            self.supervisor.events.add("error", self.name, reason=f"cannot log: {error}")
        if old != config.as_dict()["health_check"] and self.state is State.RUNNING:
            self._end_health()
            self._begin_health(Health.STARTING)

    def _cancel_timer(self) -> None:
        self.retry_at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def chance() -> float:
    """Return a random number in [0, 1); the random module would cost half a megabyte."""
    return int.from_bytes(os.urandom(4), "little") / 2**32
