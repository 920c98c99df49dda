"""The control API for a stack whose services are containers, by the engine that runs them.

Only containers that the running release names, under exactly that name, and that carry all four
labels that Compose and Moorage gave them; whatever else is on the engine does not exist here.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from moorage.control import docker_logs
from moorage.control.actions import Actions, Running
from moorage.control.cgroup import Reading, Shares, read_container
from moorage.control.contract import (
    PATIENCE_SECONDS,
    Action,
    ControlError,
    Event,
    ServiceStatus,
    Stream,
)
from moorage.control.docker_status import absent_status, container_status, timestamp_ns
from moorage.control.engine import Engine
from moorage.control.journal import Journal
from moorage.control.membership import Member, Membership

# How often a follower hears that there is nothing new.
QUIET_SECONDS = 10.0
_START_SECONDS = 60.0
# How long a status tells that memory lacked.
_REMEMBERED_SECONDS = 86_400.0
_GRACE_SECONDS = 10
_FOR_EVER_SECONDS = 30 * 86_400
_MARGIN_SECONDS = 60.0


class DockerBackend:
    """Controls one stack's containers; safe to share between threads."""

    def __init__(self, engine: Engine, membership: Membership, journal: Journal) -> None:
        """Ask nothing of the engine yet."""
        self._engine = engine
        self._membership = membership
        self._journal = journal
        self._shares = Shares()
        self._actions = Actions(journal.failed)

    def services(self) -> list[ServiceStatus]:
        """Return all services, in the release's order."""
        return [self._status(member) for member in self._membership.members().values()]

    def service(self, name: str) -> ServiceStatus:
        """Return one service."""
        return self._status(self._membership.member(name))

    def perform(self, action: Action, name: str, *, who: str, reason: str = "") -> ServiceStatus:
        """Start, stop or restart a container and return its status afterwards."""
        member = self._membership.member(name)
        raw = self._own(member)
        seconds = _seconds(action, raw)
        wanted = Running(action, int(raw["State"].get("Pid") or 0) or None, _grace(raw))

        def act() -> None:
            self._journal.request(action, member.name, who, reason)
            self._engine.act(action, raw["Id"], seconds)

        running = self._actions.begin(name, wanted, act)
        self._actions.wait(running, PATIENCE_SECONDS)
        return self._status(member)

    def logs(
        self, name: str, *, stream: Stream = "stdout", lines: int = 100, times: bool = False
    ) -> list[str]:
        """Return the last lines of a container's log."""
        raw = self._own(self._membership.member(name))
        terminal = bool(raw["Config"].get("Tty"))
        found = docker_logs.tail(self._engine, raw["Id"], terminal, stream, lines)
        return [line.text(times) for line in found.lines]

    def follow(
        self, name: str, *, stream: Stream = "stdout", lines: int = 100, times: bool = False
    ) -> Iterator[str | None]:
        """Give the last lines and each new one, over restarts; None now and then without one."""
        member = self._membership.member(name)
        raw = self._own(member)
        terminal = bool(raw["Config"].get("Tty"))
        before = docker_logs.tail(self._engine, raw["Id"], terminal, stream, lines)
        yield from (line.text(times) for line in before.lines)
        since = before.last_ns + 1 if before.last_ns else 0
        while True:
            terminal, followed = bool(raw["Config"].get("Tty")), raw["Id"]
            for line in docker_logs.follow(
                self._engine, followed, terminal, stream, since, QUIET_SECONDS
            ):
                yield line.text(times) if line else None
            yield from self._until_running(member)
            raw = self._own(member)
            # A new container's log is all new.
            ended = timestamp_ns(raw["State"]["FinishedAt"]) or 0
            since = ended if raw["Id"] == followed else 0

    def events(self, *, since: int = 0, limit: int = 100) -> list[Event]:
        """Return what happened after the given event, oldest first."""
        return self._journal.since(since, limit)

    def wait(self, since: int, timeout: float) -> None:
        """Return when there is an event after the given one, or after so many seconds."""
        self._journal.wait(since, timeout)

    def _until_running(self, member: Member) -> Iterator[None]:
        while True:
            seen = self._journal.latest()
            with suppress(ControlError):
                if self._own(member)["State"]["Running"]:
                    return
            self._journal.wait(seen, QUIET_SECONDS)
            yield None

    def _own(self, member: Member) -> dict[str, Any]:
        raw = self._engine.inspect(member.container)
        reason = self._stranger(member, raw)
        if raw is None or reason:
            raise ControlError(
                "no_container", reason, title="Not possible now", service=member.name
            )
        return raw

    def _stranger(self, member: Member, raw: Mapping[str, Any] | None) -> str:
        """Why this is no container of the member, empty when it is."""
        if raw is None or raw["Name"] != f"/{member.container}":
            return f"its container {member.container} does not exist: deploy the stack again"
        if not self._membership.owns(member, raw["Config"].get("Labels")):
            return f"the container {member.container} on this host was not made by a deploy"
        return ""

    def _status(self, member: Member) -> ServiceStatus:
        raw = self._engine.inspect(member.container)
        reason = self._stranger(member, raw)
        if raw is None or reason:
            return absent_status(member, reason)
        reading = self._reading(raw)
        status = container_status(
            member,
            raw,
            now=time.time(),
            last_exit=self._journal.last_exit(member.name),
            cpu_percent=self._share(raw, reading) if reading else None,
            memory_bytes=reading.memory_bytes if reading else None,
        )
        status = self._actions.shown(status)
        at = self._journal.short_of_memory(member.name)
        if status.reason or at is None or time.time() - at > _REMEMBERED_SECONDS:
            return status
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        return replace(status, reason=f"the kernel ended it for want of memory at {moment}")

    def _share(self, raw: Mapping[str, Any], reading: Reading) -> float:
        began = raw["State"]["StartedAt"]
        started = timestamp_ns(began) or time.time_ns()
        return self._shares.percent(raw["Name"], raw["Id"] + began, started / 1e9, reading)

    def _reading(self, raw: Mapping[str, Any]) -> Reading | None:
        pid = int(raw["State"].get("Pid") or 0)
        if not pid:
            return None
        reading = read_container(pid, raw["Id"])
        if reading is not None:
            return reading
        # It may have ended since, and then nobody can tell.
        with suppress(ControlError, KeyError):
            return _of_engine(self._engine.usage(raw["Id"]))
        return None


def _of_engine(usage: Mapping[str, Any]) -> Reading:
    memory = usage["memory_stats"]
    fields = memory.get("stats", {})
    cache = fields.get("inactive_file", fields.get("total_inactive_file", 0))
    return Reading(
        usage["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        max(0, int(memory["usage"]) - int(cache)),
    )


def _seconds(action: Action, raw: Mapping[str, Any]) -> float:
    if action == "start":
        return _START_SECONDS
    return _grace(raw) + _MARGIN_SECONDS + (_START_SECONDS if action == "restart" else 0.0)


def _grace(raw: Mapping[str, Any]) -> float:
    """How long it may take to end; a negative one is the engine's "for ever"."""
    grace = raw["Config"].get("StopTimeout")
    grace = _GRACE_SECONDS if grace is None else int(grace)
    return float(min(grace, _FOR_EVER_SECONDS) if grace >= 0 else _FOR_EVER_SECONDS)
