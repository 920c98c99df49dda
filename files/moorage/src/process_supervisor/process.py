"""One supervised process: its state, its run and what follows each end of it."""

from __future__ import annotations

import os
import random
import signal
import time

from process_supervisor import policy, procfs
from process_supervisor.checks import kill_group
from process_supervisor.config import signal_named
from process_supervisor.health import HealthState
from process_supervisor.healthwatch import HealthWatch
from process_supervisor.leftovers import Cleanup, members
from process_supervisor.output import Output
from process_supervisor.protocol import SOCKET_VARIABLE
from process_supervisor.spawn import SpawnError, identity_of, run
from process_supervisor.states import ALIVE, SETTLED, Health, State, check_transition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from subprocess import Popen

    from process_supervisor.config import ProcessConfig
    from process_supervisor.engine import Engine
    from process_supervisor.loop import Timer

ADOPTED_LOOKS = (0.002, 0.01, 0.05, 0.2, 1.0)
CHECK_SUFFIX = "#check"


class Process:
    """A process under supervision. Everything here runs in the loop's thread."""

    def __init__(self, config: ProcessConfig, engine: Engine) -> None:
        self.config = config
        self.engine = engine
        self.output = Output(engine, config)
        self.state = State.STOPPED
        self.wanted = False
        self.reason: str | None = None
        self.pid: int | None = None
        self.start_ticks = 0
        self.started_at: float | None = None
        self.started: float = 0.0
        self.restarts = 0
        self.history: list[float] = []
        self.exit: dict[str, object] | None = None
        self.log_tail: list[str] = []
        self.retry_at: float | None = None
        self.pidfd = -1
        self.adopted = False
        self._after: Callable[[], None] | None = None  # what a STOPPING process becomes
        self._timer: Timer | None = None
        self._watch: HealthWatch | None = None
        self._deadline = 0.0
        self._cleanup: Cleanup | None = None

    @property
    def name(self) -> str:
        """The process's name."""
        return self.config.name

    @property
    def mark(self) -> int:
        """The marker that its family carries."""
        return procfs.family(self.engine.key, self.name)

    def become(self, state: State, reason: str | None = None, **facts: object) -> None:
        """Take a step that the table of transitions allows, and record it."""
        check_transition(self.name, self.state, state)
        old, self.state, self.reason = self.state, state, reason
        self.engine.changed(self, old, reason, facts)

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
            self.history.clear()
            self.become(State.STARTING)
        self.proceed()

    def proceed(self) -> None:
        """Go on with a start that may have been waiting."""
        if self.state is not State.STARTING:
            return
        waiting = self.engine.waiting_for(self)
        if self._cleanup is not None:
            waiting = "waiting for processes of the last run to end"
        if waiting is None:
            self._launch()
        elif waiting != self.reason:
            self.reason = waiting
            self.engine.waits(self, waiting)

    def _launch(self) -> None:
        try:
            child = self._run()
        except (SpawnError, OSError) as error:
            self.exit = None
            self._failed(str(error), now=self.engine.loop.time())
            return
        # The exit status is collected through the pidfd; subprocess must not look for it as well.
        child.returncode = 0
        self.adopted = False
        self.exit, self.log_tail = None, []
        self.started_at = time.time()
        self.started = self.engine.loop.time()
        self._attach(child.pid, os.pidfd_open(child.pid), procfs.start_ticks(child.pid))
        self.become(State.RUNNING, pid=child.pid)
        self._begin_health(Health.STARTING)

    def _run(self) -> Popen[bytes]:
        identity = identity_of(self.config)
        ends = self.output.open_ends(identity.uid if identity else None)
        variables = {"PROCESS_SUPERVISOR_NAME": self.name, SOCKET_VARIABLE: self.engine.config.socket}
        try:
            return run(self.config, self.config.command, ends, self.mark, variables)
        finally:
            for end in ends:
                os.close(end)

    def _attach(self, pid: int, pidfd: int, start: int) -> None:
        self.pid, self.pidfd, self.start_ticks = pid, pidfd, start
        self.engine.loop.watch(pidfd, self._ended)

    # Adopting after the supervisor itself was killed

    def adopt(self, pid: int, start: int, health: Health) -> bool:
        """Take over a process that an earlier supervisor started; False when it is gone."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return False
        # Compared after the pidfd is open: from then on the number cannot become another's.
        if procfs.start_ticks(pid) != start:
            os.close(pidfd)
            return False
        self.adopted = True
        self._attach(pid, pidfd, start)
        if self.state is State.RUNNING:
            self._begin_health(health)
        return True

    # Ending

    def _ended(self) -> None:
        """The main process is dead."""
        loop = self.engine.loop
        loop.unwatch(self.pidfd)
        self._end_health()
        if self.adopted:
            self._await_record(iter(ADOPTED_LOOKS))
            return
        assert self.pid is not None
        # Before it is reaped: a zombie still owns its number, so the group is surely its own.
        if self.state is not State.STOPPING:
            kill_group(self.pid)
        found = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        killed = found is not None and found.si_code != os.CLD_EXITED
        status = found.si_status if found is not None else 0
        self._collected(None if killed else status, status if killed else None, time.time())

    def _await_record(self, delays: Iterator[float]) -> None:
        """Look for an adopted process's exit status where the guardian or the kernel keeps it."""
        assert self.pid is not None
        record = self.engine.guardian.ended(self.pid, self.start_ticks)
        if record is None:
            status = procfs.exit_information(self.pidfd)
            record = (status, time.time()) if status is not None else None
        delay = None if record is not None else next(delays, None)
        if record is None and delay is not None:
            self.engine.loop.call_later(delay, lambda: self._await_record(delays))
            return
        self.ended_unseen(record)

    def ended_unseen(self, record: tuple[int, float] | None) -> None:
        """Take note of an end that happened under another supervisor or is known by record."""
        if record is None:
            self._collected(None, None, time.time())
            return
        status, at = record
        code = os.waitstatus_to_exitcode(status)
        self._collected(code if code >= 0 else None, -code if code < 0 else None, at)

    def _collected(self, code: int | None, number: int | None, at: float) -> None:
        """Decide what an end with this exit code or signal means."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
        self.pidfd, self.pid = -1, None
        self.exit = {"code": code, "signal": number, "at": round(at, 3)}
        self.output.drain()
        if self.state is State.STOPPING:
            self._finish_stop()
            return
        self.clean()
        self._failed(describe(code, number), self.engine.loop.time(), failed=code != 0)

    def _failed(self, how: str, now: float, failed: bool = True) -> None:
        """Apply the restart policy to an end, or a start that did not work."""
        self.history = policy.recent(self.history, now, self.config.restart_window)
        decision = policy.decide(self.config, self.history, now, failed, random.random())
        if decision.action is policy.Action.RESTART:
            self.history.append(now)
            self.restarts += 1
            self.become(State.BACKOFF, how, exit=self.exit, delay=round(decision.delay, 3))
            self._retry_at(now + decision.delay)
        elif decision.action is policy.Action.LEAVE and self.exit is not None:
            self.become(State.EXITED, how, exit=self.exit)
        else:
            self.log_tail = self.output.last_lines()
            why = how if decision.action is policy.Action.LEAVE else f"{decision.reason}; {how}"
            self.become(State.FATAL, why, exit=self.exit)

    def _retry_at(self, when: float) -> None:
        """Start again at a time on the loop's clock, as soon as nothing of the last run is left."""
        self.retry_at = when
        loop = self.engine.loop
        if when <= loop.time():
            self._retry()
        else:
            self._timer = loop.call_at(when, self._retry)

    def _retry(self) -> None:
        self.retry_at = None
        if self.state is State.BACKOFF and self._cleanup is None:
            self.become(State.STARTING)
            self._launch()

    def resume_backoff(self) -> None:
        """Go on waiting as the supervisor before did."""
        self._retry_at(self.retry_at if self.retry_at is not None else self.engine.loop.time())

    # Stopping

    def stop(self, then_start: bool = False, grace: float | None = None) -> None:
        """Stop it, and start it again if asked."""
        self.wanted = then_start
        if self.state is State.RUNNING:
            self._terminate("stopping", self._stopped_then_start if then_start else self._stopped, grace)
        elif self.state is State.STOPPING:
            self._after = self._stopped_then_start if then_start else self._stopped
            if grace is not None:
                self._kill()
        else:
            self._cancel_timer()
            if self.state is not State.STOPPED:
                self.become(State.STOPPED)
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
        self._send(signal_named(self.config.stop_signal))
        self._send(signal.SIGCONT)  # a stopped process could not act on the signal
        grace = self.config.stop_grace if grace is None else grace
        self._deadline = self.engine.loop.time() + grace
        self._timer = self.engine.loop.call_at(self._deadline, self._kill)

    def _kill(self) -> None:
        """The grace period is over."""
        self._deadline = 0.0
        self._cancel_timer()
        if self.pid is not None:
            self.engine.events.add("killed", self.name, reason="the grace period is over")
            self._send(signal.SIGKILL)
        if self._cleanup is not None:
            self._cleanup.hurry()

    def _finish_stop(self) -> None:
        self.clean(signal_named(self.config.stop_signal), self._deadline)
        if self._cleanup is None:
            self._settle()

    def _settle(self) -> None:
        self._cancel_timer()
        # None after a supervisor died in the middle of a stop.
        after = self._after or (self._stopped_then_start if self.wanted else self._stopped)
        self._after = None
        after()

    def _stopped(self) -> None:
        self.become(State.STOPPED, None, exit=self.exit)

    def _stopped_then_start(self) -> None:
        self._stopped()
        self.start()

    def _send(self, number: int) -> None:
        """Signal the main process through its pidfd: never another one that has its number."""
        if self.pidfd >= 0:
            try:
                signal.pidfd_send_signal(self.pidfd, number)
            except ProcessLookupError:
                pass

    def send_signal(self, number: int) -> None:
        """Send an operator's signal."""
        self._send(number)

    # What is left of the family

    def family(self) -> list[int]:
        """Return the living processes of this service that its main process left behind."""
        return members(self.engine.orphans(), self.mark)

    @property
    def quiet(self) -> bool:
        """Whether nothing of it runs or is about to."""
        return self.state in SETTLED and self._cleanup is None

    def clean(self, polite: int | None = None, until: float = 0.0) -> None:
        self._cleanup = None
        cleanup = Cleanup(self.engine.loop, self.family, self._cleaned, polite, until)
        if cleanup.pending:
            self._cleanup = cleanup

    def _cleaned(self) -> None:
        if self._cleanup is None:
            return  # nothing was left: the caller goes on by itself
        self.engine.events.add("cleaned", self.name, processes=self._cleanup.found)
        self._cleanup = None
        self.engine.touch()
        if self.state is State.STOPPING:
            self._settle()
        elif self.state is State.BACKOFF and self.retry_at is None:
            self._retry()
        else:
            self.proceed()

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
        mark = procfs.family(self.engine.key, self.name + CHECK_SUFFIX)
        state = HealthState(config, self.started, status)
        self._watch = HealthWatch(
            self.engine.loop, self.config, config, mark, state, self._health_changed
        )

    def _end_health(self) -> None:
        if self._watch is not None:
            self._watch.end()
            self._watch = None

    def _health_changed(self, old: Health) -> None:
        assert self._watch is not None
        health = self._watch.health
        self.engine.health_changed(self, old, health)
        if health.status is Health.UNHEALTHY and health.config.restart_when_unhealthy:
            reason = f"unhealthy: {health.reason}"
            self._terminate(reason, lambda: self._failed(reason, self.engine.loop.time()))

    # Changes and the end of the supervisor

    def reconfigure(self, config: ProcessConfig) -> None:
        """Use settings that do not need the process to be started again."""
        health_changed = (config.health_check and config.health_check.as_dict()) != (
            self.config.health_check and self.config.health_check.as_dict()
        )
        self.config = config
        self.output.reconfigure(config)
        if health_changed and self.state is State.RUNNING:
            self._end_health()
            self._begin_health(Health.STARTING)

    def _cancel_timer(self) -> None:
        self.retry_at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def alive(self) -> bool:
        """Whether it has a pid."""
        return self.state in ALIVE


def describe(code: int | None, number: int | None) -> str:
    """Say in words how a process ended."""
    if number is not None:
        try:
            return f"killed by SIG{signal.Signals(number).name.removeprefix('SIG')}"
        except ValueError:
            return f"killed by signal {number}"
    if code is None:
        return "ended, exit status unknown (its parent was killed as well)"
    return f"exited with status {code}"
