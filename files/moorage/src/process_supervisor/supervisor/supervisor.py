"""All processes together: order, persistence, events. Runs in the loop's thread only."""

from __future__ import annotations

import json
import os
import time

from process_supervisor.alerts.alerts import Alerts
from process_supervisor.common import procfs
from process_supervisor.common.events import Events, Journal
from process_supervisor.plugins.plugins import Plugins
from process_supervisor.service import memory
from process_supervisor.service.leftovers import families
from process_supervisor.service.process import Process
from process_supervisor.service.states import ALIVE, SETTLED, Health, State
from process_supervisor.service.status import Usage, status_of
from process_supervisor.supervisor.history import History
from process_supervisor.supervisor.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from process_supervisor.common.loop import EventLoop
    from process_supervisor.config.settings import Config
    from process_supervisor.guardian.link import GuardianLink
    from process_supervisor.service.checks import Done, Running
    from process_supervisor.service.health import HealthState
    from process_supervisor.supervisor.rolling import Rolling
    from process_supervisor.supervisor.schedule import Schedules


class Supervisor:
    """Supervises the processes of one configuration."""

    def __init__(self, config: Config, loop: EventLoop, guardian: GuardianLink) -> None:
        self.config = config
        self.loop = loop
        self.guardian = guardian
        self.generation = procfs.generation()
        self.key = f"{self.generation}:{os.path.realpath(config.run_dir)}"
        self.store = Store(config.run_dir, config.state_dir, config.pids_file)
        self.journal = Journal(config.log_file)
        self.events = Events(f"{config.state_dir}/events.jsonl", self._happened)
        self.plugins = Plugins(loop, self.key, self.events, self.orphans)
        self.alerts = Alerts(
            loop, self.events, f"{config.state_dir}/alerts.json", self.plugins.helper,
            lambda name: self.plugins.helpers[name], self._log_problems,
        )  # fmt: skip
        self.processes = {
            name: Process(settings, self) for name, settings in config.processes.items()
        }
        self.history = History(config.state_dir, loop, self.processes)
        self.stopped_by_operator = self.store.load_stopped()
        self.completed = self.store.load_completed()
        self.usage = Usage()
        self.shortage = memory.Shortage(self.store.load_memory(self.generation))
        self.started_at = time.time()
        self.listeners: list[Callable[[], None]] = []
        self.on_shutdown: Callable[[], None] = loop.stop
        self._looking = False
        self.monitoring = True
        self.leaving: set[str] = set()
        self.rolling: list[Rolling] = []
        self._schedules: Schedules | None = None
        self.shutting_down = False
        self._grace: float | None = None
        self._dirty = False
        self._unsaved = False  # who is stopped
        self._left: set[int] | None = None
        self._saved: dict[str, tuple[tuple[object, ...], str]] = {}
        self._pids: dict[str, int] | None = None

    def configure_helpers(self) -> None:
        """Have plug-ins, channels of alerts and schedules be those of the configuration."""
        self.plugins.configure(self.config.plugins)
        self.alerts.configure(self.config.alerts)
        wanted = {name: c.schedule for name, c in self.config.processes.items() if c.schedule}
        if wanted and self._schedules is None:
            from process_supervisor.supervisor.schedule import Schedules

            self._schedules = Schedules(self, f"{self.config.state_dir}/schedule.json")
        if self._schedules is not None:
            self._schedules.configure(wanted)

    # What an operator asks for

    def start(self, name: str) -> None:
        """Start a process and forget that it was stopped."""
        self._forget_stop(name)
        self.processes[name].start()
        self.touch()

    def stop(self, name: str) -> None:
        """Stop a process and remember that it shall stay so."""
        if name not in self.stopped_by_operator:
            self.stopped_by_operator.add(name)
            self._save_stopped()
        self.processes[name].stop()
        self.touch()

    def restart(self, name: str) -> None:
        """Stop a process if it runs, then start it."""
        self._forget_stop(name)
        self.processes[name].stop(then_start=True)
        self.touch()

    def _forget_stop(self, name: str) -> None:
        if name in self.stopped_by_operator:
            self.stopped_by_operator.discard(name)
            self._save_stopped()

    def _save_stopped(self) -> None:
        """Keep who is stopped over boots; who fills the disk can be stopped all the same."""
        try:
            self.store.save_stopped(self.stopped_by_operator)
            self._unsaved = False
        except OSError as error:
            self._unsaved = True
            self.events.add("error", reason=f"cannot save who is stopped: {error}")

    def monitor(self, wanted: bool) -> None:
        """Switch restarts on or off; what ended meanwhile is started when they come on again."""
        self.monitoring = wanted
        for process in self.processes.values() if wanted else ():
            if process.state is State.BACKOFF and process.retry_at is None:
                process.resume_backoff()

    def remove(self, name: str) -> None:
        """Stop a process that is no longer configured, and forget it once it has ended."""
        process = self.processes[name]
        # Else one of that name that comes later would not start at a boot.
        self._forget_stop(name)
        self.leaving.add(name)
        process.stop()
        self.touch()

    def reopen(self) -> None:
        """Open all log files anew."""
        self.journal.reopen()
        for process in self.processes.values():
            process.output.reopen()

    def shutdown(self, grace: float | None = None) -> None:
        """Stop everything, dependants before what they depend on, then call on_shutdown.

        grace replaces every process's own grace period, for an impatient second request.
        """
        if self.shutting_down and grace is None:
            return
        self.events.add("shutdown")
        self.shutting_down = True
        self.alerts.end()
        self.plugins.end()
        self._grace = grace
        if grace is not None:
            for process in self.processes.values():
                if process.state is State.STOPPING:
                    process.stop(grace=grace)
        self._continue_shutdown()

    # What the processes call

    def changed(
        self, process: Process, old: State, reason: str | None, facts: Mapping[str, object]
    ) -> None:
        """A process took a step from one state to another."""
        # Written with the run state that it has led to: a replacement does not wait for files.
        self.events.note(
            "state", process.name, **{"from": str(old), "to": str(process.state)},
            reason=reason, scheduled=process.config.schedule and True, **facts,
        )  # fmt: skip
        if self._schedules is not None:
            self._schedules.changed(process, old)
        self.touch()

    def scheduled(self, name: str) -> dict[str, Any] | None:
        """Return what is to be shown of a process's schedule, None of one that has none."""
        return self._schedules.status_of(name) if self._schedules else None

    def health_changed(self, process: Process, old: Health, health: HealthState) -> None:
        """A health check's verdict changed."""
        self.events.add(
            "health", process.name, **{"from": str(old), "to": str(health.status)},
            reason=health.reason or None,
        )  # fmt: skip
        self.touch()

    def waits(self, process: Process, reason: str) -> None:
        """A start has to wait."""
        self.events.add("waiting", process.name, reason=reason)
        self.touch()

    def waiting_for(self, process: Process) -> str | None:
        """Say what a process has to wait for before it may start, None when for nothing."""
        for name, condition in process.config.depends_on.items():
            other = self.processes.get(name)
            if other is None or met(other, condition):
                continue
            now = f"it is {other.state}"
            if condition == "healthy" and other.state is State.RUNNING:
                now = f"its health is {other.health}"
            elif name in self.stopped_by_operator:
                now += ", stopped by an operator"
            elif other.state is State.STOPPED and not other.config.autostart:
                now += ", autostart is off"
            return f"waiting for {name} to be {condition} ({now})"
        return None

    def ask_plugin(self, process: Process, plugin: str, done: Done) -> Running:
        """Ask a plug-in whether a process is well."""
        found = status_of(process, self.usage)
        info = {**found, "status": found["state"].lower()}
        return self.plugins.ask(plugin, process.name, info, done)

    def lacked_memory(self) -> bool:
        """Whether the kernel has just killed a process of this container for want of memory."""
        return self.shortage.take()

    def watch_memory(self) -> None:
        """Look for such kills now and then."""
        if self.shortage.watched:
            self.shortage.find()
            self.look_for_kills()
            self.loop.call_later(memory.INTERVAL, self.watch_memory)

    def look_for_kills(self) -> None:
        """Look for kills of other processes than a service's main one."""
        if not self._looking and self.shortage.pending():
            # It may be a main process whose end was not yet heard of.
            self._looking = True
            self.loop.call_later(memory.PATIENCE, self._tell_of_strays)

    def _tell_of_strays(self) -> None:
        self._looking = False
        number = self.shortage.pending()
        if self.shortage.take(number):
            self.shortage.strays += number
            self.shortage.at = time.time()
            reason = "the kernel ended a process of this container for want of memory"
            self.events.add("oom", processes=number, reason=reason)
            self.touch()

    def note_completed(self, name: str, done: bool) -> None:
        """Remember that a process which others wait for has ended well, or is another one now."""
        waiting = [p.config.depends_on.get(name) for p in self.processes.values()]
        if done == (name in self.completed) or (done and "completed" not in waiting):
            return
        self.completed.symmetric_difference_update({name})
        try:
            self.store.save_completed(self.completed)
        except OSError as error:
            self.events.add("error", name, reason=f"cannot save that it completed: {error}")

    def orphans(self) -> list[int]:
        """Return processes that lost their parent and are nobody's main process."""
        known = {process.pid for process in self.processes.values() if process.pid}
        return self.guardian.orphans(known | {os.getpid(), self.guardian.pid})

    def left(self, mark: int) -> bool:
        """Whether a process that lost its parent carries a marker.

        Looked at once for all who end in one turn of the loop: they had ended before it began.
        """
        if self._left is None:
            self._left = families(self.orphans)
            self.loop.call_soon(self._look_again)
        return mark in self._left

    def _look_again(self) -> None:
        self._left = None

    def touch(self) -> None:
        """Have state saved and waiting parties looked after before the loop sleeps."""
        if not self._dirty:
            self._dirty = True
            self.loop.call_soon(self._settle)

    # Its own housekeeping

    def _happened(self, entry: Mapping[str, object]) -> None:
        self.journal.event(entry)
        self.plugins.happened(entry)
        self.alerts.happened(entry)

    def _log_problems(self) -> dict[str, str | None]:
        return {name: process.output.problem() for name, process in self.processes.items()}

    def _settle(self) -> None:
        self._dirty = False
        # What has just been started would else wait on this processor for all that follows.
        os.sched_yield()
        for process in () if self.shutting_down else list(self.processes.values()):
            process.proceed()
        for name in [name for name in self.leaving if self.processes[name].quiet]:
            self.leaving.discard(name)
            self.processes.pop(name).output.close(forget=True)
            self.history.forget(name)
            self._saved.pop(name, None)
            self.guardian.hold_fifos()
        if self.shutting_down:
            self._continue_shutdown()
        else:
            self.save()
        for listener in list(self.listeners):
            listener()

    def save(self) -> None:
        """Write events, run state and pids.env; trouble is an event, never the end of all."""
        self.events.write()
        if self._unsaved:
            self._save_stopped()
        try:
            states = {name: self._saved_text(name) for name in self.processes}
            self.store.save_state(self.generation, states, self.shortage.as_dict())
            pids = {name: item.pid for name, item in self.processes.items() if item.pid}
            if pids != self._pids:
                self.store.save_pids(pids)
                self._pids = pids
        except OSError as error:
            self.events.add("error", reason=f"cannot save state: {error}")

    def _saved_text(self, name: str) -> str:
        """Return a process's state as JSON, made anew only when it is another."""
        state = saved(self.processes[name])
        facts = tuple(state.values())
        if name not in self._saved or self._saved[name][0] != facts:
            self._saved[name] = (facts, json.dumps(state))
        return self._saved[name][1]

    def _continue_shutdown(self) -> None:
        for name in stoppable(self.processes):
            process = self.processes[name]
            if process.state is not State.STOPPING:
                process.stop(grace=self._grace)
        if all(process.quiet for process in self.processes.values()):
            self.save()
            self.store.forget_state()
            self.on_shutdown()
        else:
            self.save()


def met(other: Process, condition: str) -> bool:
    """Return whether a dependency's condition is fulfilled."""
    if condition == "healthy":
        return other.state is State.RUNNING and other.health is Health.HEALTHY
    completed = other.state is State.EXITED and other.exit is not None and other.exit["code"] == 0
    if condition == "completed":
        return completed
    return other.state is State.RUNNING or completed


def stoppable(processes: Mapping[str, Process]) -> Iterable[str]:
    """Return those that still have something to stop and that nothing alive depends on."""
    needed = {
        other
        for process in processes.values()
        if not process.quiet
        for other in process.config.depends_on
    }
    return [
        name
        for name, process in processes.items()
        if name not in needed and (process.state in ALIVE or process.state not in SETTLED)
    ]


def saved(process: Process) -> dict[str, object]:
    """Return what the next supervisor needs to know of a process."""
    return {
        "state": str(process.state),
        "wanted": process.wanted,
        "reason": process.reason,
        "pid": process.pid,
        "start_ticks": process.main.start_ticks if process.main else 0,
        "started_at": process.started_at,
        "started": process.started,
        "restarts": process.restarts,
        "failures": process.failures,
        "exit": process.exit,
        "log_tail": process.log_tail,
        "health": str(process.health),
        "retry_at": process.retry_at,
        "lacked_memory": process.lacked_memory,
        "memory_kills": process.memory_kills,
        "turn": process.turn,
    }
