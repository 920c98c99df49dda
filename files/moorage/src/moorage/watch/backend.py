"""The control API for a stack whose services are processes of the host.

Only processes that the running release names; what is done is done by the runtime, to their units.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from moorage.control.actions import Actions, Running
from moorage.control.cgroup import Reading, Shares, read_container
from moorage.control.contract import (
    PATIENCE_SECONDS,
    Action,
    ControlError,
    Event,
    Health,
    ServiceStatus,
    State,
    Stream,
)
from moorage.control.docker_status import absent_status, timestamp_ns
from moorage.control.journal import Journal, exit_status
from moorage.control.membership import Member, Membership
from moorage.deploy.instance import Instance
from moorage.deploy.runtimes.base import RuntimeFault
from moorage.deploy.runtimes.managers.base import timed
from moorage.deploy.runtimes.native import Native
from moorage.watch.sight import Sight
from moorage.watch.watcher import MARGIN_SECONDS, Watcher
from process_supervisor.common import procfs

# How old a status may be, and how often a follower hears that there is nothing new.
_OLDEST_SECONDS, QUIET_SECONDS = 1.0, 10.0
_LONGEST_LINE = 1 << 16
_REMEMBERED_SECONDS = 86_400.0


class NativeBackend:
    """Controls one stack's processes; safe to share between threads."""

    def __init__(
        self,
        native: Native,
        sight: Sight,
        membership: Membership,
        journal: Journal,
        watcher: Watcher,
    ) -> None:
        """Ask nothing yet."""
        self._native, self._sight = native, sight
        self._membership, self._journal, self._watcher = membership, journal, watcher
        self._actions: Actions = watcher.actions
        self._shares = Shares()

    def services(self) -> list[ServiceStatus]:
        """Return all services, in the release's order."""
        return [self._status(member) for member in self._membership.members().values()]

    def service(self, name: str) -> ServiceStatus:
        """Return one service."""
        return self._status(self._membership.member(name))

    def perform(self, action: Action, name: str, *, who: str, reason: str = "") -> ServiceStatus:
        """Start, stop or restart a process and return its status afterwards."""
        member = self._membership.member(name)
        instance = self._own(member)
        wanted = Running(action, instance.pid or None, instance.stop_seconds)

        def act() -> None:
            self._journal.request(action, name, who, reason)
            try:
                self._do(action, instance)
            except RuntimeFault as trouble:
                raise _refused(trouble) from None
            finally:
                self._watcher.look()

        running = self._actions.begin(name, wanted, act)
        self._actions.wait(running, PATIENCE_SECONDS)
        return self._status(member)

    def _do(self, action: Action, instance: Instance) -> None:
        seconds = instance.stop_seconds + MARGIN_SECONDS
        if action == "start":
            self._native.start([instance.name])
        elif action == "restart":
            self._native.restart(instance.name, timeout_seconds=seconds)
        else:
            self._native.stop([instance.name], timeout_seconds=seconds)
            self._native.hold([instance.name])
            self._watcher.held(instance.id)

    def logs(
        self, name: str, *, stream: Stream = "stdout", lines: int = 100, times: bool = False
    ) -> list[str]:
        """Return the last lines that a process has written, of both streams."""
        return self._native.logs(self._own(self._membership.member(name)).name, lines, times)

    def follow(
        self, name: str, *, stream: Stream = "stdout", lines: int = 100, times: bool = False
    ) -> Iterator[str | None]:
        """Give the last lines and each new one, over restarts; None now and then without one."""
        member = self._membership.member(name)
        while True:
            instance = self._own(member)
            argv = self._native.follow(instance.name, lines, times)
            for line in _read_lines(argv):
                if line is not None:
                    yield timed(line) if times else line
                    continue
                yield None
                # An update goes on in another slot, whose log is all new.
                if self._own(member).id != instance.id:
                    lines = 1000
                    break

    def events(self, *, since: int = 0, limit: int = 100) -> list[Event]:
        """Return what happened after the given event, oldest first."""
        return self._journal.since(since, limit)

    def wait(self, since: int, timeout: float) -> None:
        """Return when there is an event after the given one, or after so many seconds."""
        self._journal.wait(since, timeout)

    def _own(self, member: Member) -> Instance:
        found = self._find(member)
        if found is None:
            raise ControlError(
                "no_process", _gone(member), title="Not possible now", service=member.name
            )
        return found

    def _find(self, member: Member) -> Instance | None:
        try:
            return self._sight.look(_OLDEST_SECONDS).instances.get(member.container)
        except RuntimeFault as trouble:
            raise _refused(trouble) from None

    def _status(self, member: Member) -> ServiceStatus:
        instance = self._find(member)
        if instance is None:
            return absent_status(member, _gone(member))
        reading = _reading(instance) if instance.pid else None
        given_up = self._watcher.given_up(instance.id)
        status = process_status(member, instance, given_up)
        started = status.started_at or time.time()
        run = f"{instance.id} {instance.pid}"
        status = replace(
            status,
            exit=status.exit or self._journal.last_exit(member.name),
            cpu_percent=self._shares.percent(member.name, run, started, reading)
            if reading
            else None,
            memory_bytes=reading.memory_bytes if reading else None,
        )
        status = self._actions.shown(status)
        at = self._journal.short_of_memory(member.name)
        if status.reason or at is None or time.time() - at > _REMEMBERED_SECONDS:
            return status
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        return replace(status, reason=f"the kernel ended it for want of memory at {moment}")


def _reading(instance: Instance) -> Reading:
    """What an instance uses; shared pages count for each process where it has no group."""
    found = read_container(instance.pid, f"{instance.id}.service")
    if found is not None:
        return found
    pids = procfs.descendants([instance.pid])
    ticks = sum(stat.ticks for pid in pids if (stat := procfs.stat(pid)))
    return Reading(ticks / procfs.TICKS, sum(procfs.resident(pid) for pid in pids))


def process_status(member: Member, instance: Instance, given_up: str = "") -> ServiceStatus:
    """Return what is said of an instance, in the control API's words. Pure but for the clock."""
    state, reason = _state(instance)
    if given_up and state is not State.RUNNING:
        state, reason = State.FATAL, given_up
    running = bool(instance.pid)
    started = _seconds(instance.started_at) if running else None
    ended = _seconds(instance.finished_at)
    return ServiceStatus(
        name=member.name,
        state=state,
        health=Health(instance.health) if running else Health.NONE,
        wanted="down" if state is State.STOPPED else "up",
        pid=instance.pid or None,
        started_at=started,
        uptime=round(max(0.0, time.time() - started), 3) if started else 0.0,
        restarts=instance.restarts,
        exit=exit_status(instance.exit_code, ended) if ended and not running else None,
        reason=reason,
        ports=member.ports,
        image=instance.image,
    )


def _state(instance: Instance) -> tuple[State, str | None]:
    why = f"it ended with exit code {instance.exit_code}"
    if instance.out_of_memory:
        why = "it was killed: its memory limit was reached"
    if instance.state == "running":
        return State.RUNNING, None
    if instance.state == "restarting":
        return State.BACKOFF, why
    if instance.state == "dead" or instance.refused:
        return State.FATAL, f"{instance.refused or 'it was given up'}; last: {why}"
    # One that fails would be started again had nobody stopped it.
    failed = instance.policy == "on-failure" and instance.exit_code
    if instance.state == "created" or instance.held or failed:
        return State.STOPPED, None
    return State.EXITED, why if instance.exit_code else None


def _seconds(moment: str) -> float | None:
    found = timestamp_ns(moment)
    return found / 1e9 if found else None


def _gone(member: Member) -> str:
    return f"its process {member.container} does not exist: deploy the stack again"


def _refused(trouble: RuntimeFault) -> ControlError:
    return ControlError("manager_refused", str(trouble), status=503)


def _read_lines(argv: Sequence[str]) -> Iterator[str | None]:
    """Yield what a program prints, None where that is nothing for a while; it ends with us."""
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout is not None
        output, buffer = child.stdout.fileno(), b""
        try:
            while True:
                if not select.select([output], [], [], QUIET_SECONDS)[0]:
                    yield None
                    continue
                data = os.read(output, 65536)
                if not data:
                    raise ControlError("unreachable", "its log has ended", status=503)
                *complete, buffer = (buffer + data).split(b"\n")
                if len(buffer) > _LONGEST_LINE:
                    complete, buffer = [*complete, buffer], b""
                for line in complete:
                    yield line.decode("utf-8", "replace")
        finally:
            child.kill()
