"""Beginning: a fresh start, or going on where a killed supervisor left off."""

from __future__ import annotations

import os
import time

from process_supervisor.common import procfs
from process_supervisor.service.leftovers import families, kill_all, members, remaining
from process_supervisor.service.main_process import Ending
from process_supervisor.service.spawn import SpawnError, identity_of
from process_supervisor.service.states import ALIVE, Health, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from process_supervisor.service.process import Process
    from process_supervisor.supervisor.supervisor import Supervisor


def begin(supervisor: Supervisor, autostart: bool = True) -> None:
    """Restore what an earlier supervisor of this boot left, then start what shall run."""
    state = supervisor.store.load_state(supervisor.generation)
    supervisor.guardian.meet(supervisor.key)
    # Before anything happens that is worth telling. Helpers come after `sweep`.
    supervisor.alerts.configure(supervisor.config.alerts)
    supervisor.events.add("supervisor resumed" if state else "supervisor started")
    supervisor.store.save_config(supervisor.generation, supervisor.config.as_dict())
    for name, process in supervisor.processes.items():
        try:
            process.output.resume()
        except OSError as error:
            supervisor.events.add("error", name, reason=f"cannot log: {error}")
        if name in state and not restored(process, state[name]):
            del state[name]
    sweep(supervisor)
    supervisor.configure_helpers()
    for name, process in supervisor.processes.items():
        if name in state:
            if process.state is State.BACKOFF:
                process.resume_backoff()
            process.proceed()
        elif name in supervisor.stopped_by_operator:
            process.reason = "stopped by an operator"
        elif autostart and process.config.autostart:
            process.start()
    supervisor.watch_memory()
    supervisor.history.begin()
    supervisor.touch()


def restored(process: Process, saved: dict[str, Any]) -> bool:
    """Restore a process; False when its saved state is damaged, which sweep() then makes up for."""
    try:
        restore(process, saved)
    except (KeyError, TypeError, ValueError) as error:
        process.supervisor.events.add(
            "error", process.name, reason=f"unusable saved state: {error!r}"
        )
        process.state = State.STOPPED
        return False
    return True


def restore(process: Process, saved: dict[str, Any]) -> None:
    """Put a process back into its saved state and take over the one that runs."""
    process.state = State(saved["state"])
    process.wanted = bool(saved["wanted"])
    process.reason = saved["reason"]
    process.started_at = saved["started_at"]
    process.started = saved["started"]
    process.restarts = saved["restarts"]
    process.failures = int(saved.get("failures", 0))
    process.exit = saved["exit"]
    process.log_tail = list(saved["log_tail"])
    process.retry_at = saved["retry_at"]
    process.lacked_memory = saved.get("lacked_memory")
    process.memory_kills = int(saved.get("memory_kills", 0))
    process.turn = saved.get("turn")
    if process.state not in ALIVE:
        return
    pid, start = int(saved["pid"]), int(saved["start_ticks"])
    if process.adopt(pid, start, Health(saved["health"])):
        process.supervisor.events.add("adopted", process.name, pid=pid)
        if process.state is State.STOPPING:
            process.continue_stop()
        return
    # It may have been replaced already: a supervisor killed right after a restart has not saved it.
    leaders = unrecorded(process, process.supervisor.orphans())
    if leaders and process.state is State.RUNNING:
        adopt_unrecorded(process, leaders[0])
    else:
        process.ended(Ending.of_record(process.supervisor.guardian.ended(pid, start)))


def sweep(supervisor: Supervisor) -> None:
    """Deal with marked processes that the saved state does not know.

    A supervisor killed right after a start, before it could save, leaves a main process without a
    record, and so does a lost state file: it is adopted if it shall run. Anything else is killed:
    health checks, helpers (one that hangs does not see that its supervisor is gone), and what
    belongs to processes whose removal was not complete, whether or not anything still says so.
    """
    orphans = supervisor.orphans()
    there = families(supervisor.orphans)
    known = {process.mark for process in supervisor.processes.values()}
    for mark in there - known:
        if procfs.is_marked(mark, supervisor.key):
            kill_family(supervisor, mark)
    for process in supervisor.processes.values():
        if process.pid is not None or process.mark not in there:
            continue
        leaders = unrecorded(process, orphans)
        if leaders and shall_run(process):
            adopt_unrecorded(process, leaders[0])
        elif members(orphans, process.mark):
            process.clean()


def kill_family(supervisor: Supervisor, mark: int) -> None:
    """Kill every process that carries a marker."""
    kill_all(lambda: remaining(supervisor.orphans, mark))


def shall_run(process: Process) -> bool:
    """Return whether a process would be started now if it were not found."""
    if process.state is State.STOPPED and not process.wanted:
        stopped = process.name in process.supervisor.stopped_by_operator
        return process.config.autostart and not stopped
    return process.state in (State.STARTING, State.BACKOFF)


def unrecorded(process: Process, orphans: list[int]) -> list[int]:
    """Return what may be a main process without a record: it leads a session and bears the mark.

    Not that of the start that is recorded: what bears it and is left has been left by its main
    process. Nor one of another user than the service's: anybody may give himself a marker.
    """
    try:
        identity = identity_of(process.config)
    except SpawnError:
        return []
    user = identity.uid if identity else os.getuid()
    found = []
    for pid in members(orphans, process.mark):
        facts = procfs.stat(pid)
        leads = facts is not None and facts.session == pid and procfs.user(pid) == user
        if leads and (process.turn is None or procfs.turn(pid) != process.turn):
            found.append(pid)
    return found


def adopt_unrecorded(process: Process, pid: int) -> None:
    """Take over a main process that was started but not recorded."""
    start = procfs.start_ticks(pid)
    boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    age = max(0.0, boot - start / procfs.TICKS)
    process.started, process.started_at = process.supervisor.loop.time() - age, time.time() - age
    process.retry_at = None
    process.turn = procfs.turn(pid)
    process.wanted = True
    process.state = State.RUNNING
    if process.adopt(pid, start, Health.STARTING):
        process.supervisor.events.add("adopted", process.name, pid=pid, reason="was not recorded")
    else:
        process.ended(Ending.of_record(process.supervisor.guardian.ended(pid, start)))
