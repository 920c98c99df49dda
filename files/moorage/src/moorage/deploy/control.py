"""The services of a stack on this host, and the means to start and stop them.

Whatever answers the control API of the stack is asked: the supervisor of an instance that has one,
and the gateway for all others, whose audit trail then has it. What neither knows, as everything
while a gateway is down, is asked of what runs it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeVar

from moorage.control.contract import (
    Action,
    ControlBackend,
    ControlError,
    Event,
    ServiceStatus,
    State,
    Stream,
)
from moorage.control.http import HttpBackend
from moorage.control.merged import MergedBackend, Part
from moorage.control.process import ProcessBackend
from moorage.deploy.instance import Instance
from moorage.deploy.release import readable_release
from moorage.deploy.runtimes.registry import runtime
from moorage.release.layout import Layout
from moorage.release.names import GATEWAY, GATEWAY_UNIT, NEXT, in_slot
from process_supervisor.control.client import Client

_SUPERVISOR = "supervisor"
_TIMEOUT_SECONDS = 60.0
_LOOK_SECONDS = 0.5
# What a stop and a start may take beyond the grace of the instance.
_MARGIN_SECONDS = 120.0
# The state of a row for what does not answer.
UNREACHABLE = "UNREACHABLE"
_UNREACHABLE = ("unreachable", "timeout")

Answer = TypeVar("Answer")


class UnknownService(Exception):
    """The stack has no such service; the message names those that it has."""


class Services:
    """The services of one deployed stack."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._runtime = runtime(layout)

    def all(self) -> list[dict[str, Any]]:
        """Return the status of every service; a control API that is down is a row of its own."""
        instances = self._instances()
        found: list[dict[str, Any]] = []
        kinds = {i.kind for i in instances if not i.supervised}
        for part in self._parts(instances):
            process = part.name == _SUPERVISOR or kinds == {"process"}
            kind = "process" if process else "container"
            # While one form of the stack follows upon another both may know a service.
            rows = {row["service"] for row in found}
            try:
                own = [_row(status, kind) for status in part.backend.services()]
            except ControlError as trouble:
                shared = next((i.service for i in instances if i.supervised), "")
                own = [_silent(shared if part.name == _SUPERVISOR else GATEWAY, part.name, trouble)]
            found += [row for row in own if row["service"] not in rows]
        known = {row["service"] for row in found}
        names = {instance.name for instance in instances}
        # During an update there are two; a first one that failed is all that there is.
        shown = (
            c
            for c in instances
            if c.name.removesuffix(NEXT) == c.name or c.name.removesuffix(NEXT) not in names
        )
        found += [_of_instance(c) for c in shown if not (c.supervised or _called(c) in known)]
        return found

    def act(
        self,
        verb: Action,
        service: str,
        who: str,
        reason: str | None,
        waits: Callable[[str], None] = lambda why: None,
    ) -> dict[str, Any]:
        """Start, stop or restart one service and return its status afterwards.

        Waits for as long as the service may take to end, and says to `waits` that it does.
        """

        def by_control(backend: ControlBackend) -> dict[str, Any]:
            found = backend.perform(verb, service, who=who, reason=reason or "")
            if _under_way(backend, found):
                waits(f"{service}: {found.reason or found.state}")
            while _under_way(backend, found):
                time.sleep(_LOOK_SECONDS)
                found = backend.service(service)
            return self._one(service)

        def by_engine(instance: Instance) -> dict[str, Any]:
            seconds = instance.stop_seconds + _MARGIN_SECONDS
            if verb == "start":
                self._runtime.start([instance.name])
            elif verb == "stop":
                self._runtime.stop([instance.name], timeout_seconds=seconds)
                self._runtime.hold([instance.name])
            else:
                self._runtime.restart(instance.name, timeout_seconds=seconds)
            return self._one(service)

        return self._either(service, by_control, by_engine)

    def reopen(self) -> None:
        """Have the supervisor open its log files anew (after a rotation from outside)."""
        # Both slots during an update: both write into the same files.
        for instance in self._instances():
            if instance.supervised and instance.state == "running":
                Client(self._socket(instance), timeout=_TIMEOUT_SECONDS).reopen()

    def log(
        self, service: str, lines: int, stream: Stream = "stdout", times: bool = False
    ) -> list[str]:
        """Return the last lines of a service's log, with when they were written where known."""
        return self._either(
            service,
            lambda backend: backend.logs(
                service, stream=_all(backend, stream), lines=lines, times=times
            ),
            lambda instance: self._runtime.logs(instance.name, lines, times),
        )

    def follow(
        self, service: str, lines: int, stream: Stream = "stdout", times: bool = False
    ) -> Iterator[str]:
        """Yield a service's log lines as they are written, beginning with the last ``lines``.

        Raises UnknownService for one that no control API knows: `followed_by` tells how.
        """

        def refuse(instance: Instance) -> Iterator[str | None]:
            raise UnknownService(f"{instance.name} is followed by what runs it")

        found = self._either(
            service,
            lambda b: b.follow(service, stream=_all(b, stream), lines=lines, times=times),
            refuse,
        )
        return (line for line in found if line is not None)

    def followed_by(self, service: str, lines: int, times: bool) -> list[str] | None:
        """Return the command line that follows a service no control API knows, None for others."""
        return self._either(
            service,
            lambda _: None,
            lambda instance: self._runtime.follow(instance.name, lines, times),
        )

    def events(self, limit: int) -> list[Event]:
        """Return what happened to services, oldest first."""
        backend = self._backend(self._instances())
        return backend.events(limit=limit) if backend else []

    def measured(self) -> tuple[list[ServiceStatus], list[Event]]:
        """Return what metrics are made of; empty where nothing answers a control API."""
        backend = self._backend(self._instances())
        return (backend.services(), backend.events(limit=500)) if backend else ([], [])

    def _instances(self) -> list[Instance]:
        return self._runtime.instances(self._layout.stack)

    def _socket(self, instance: Instance) -> str:
        return str(self._layout.control_socket(in_slot(instance.service, instance.slot)))

    def _one(self, service: str) -> dict[str, Any]:
        return next(row for row in self.all() if row["service"] == service)

    def _parts(self, instances: list[Instance]) -> list[Part]:
        found = []
        own = [c for c in instances if c.supervised and not c.name.endswith(NEXT)]
        if own:
            process = ProcessBackend(self._socket(own[0]), timeout=_TIMEOUT_SECONDS)
            found.append(Part(_SUPERVISOR, process))
        release = readable_release(self._layout)
        if release is not None and GATEWAY_UNIT in release.manifest.install:
            path = str(self._layout.control_socket(GATEWAY))
            found.append(Part(GATEWAY, HttpBackend(path, timeout=_TIMEOUT_SECONDS)))
        return found

    def _backend(self, instances: list[Instance]) -> ControlBackend | None:
        parts = self._parts(instances)
        if len(parts) == 2:
            return MergedBackend(*parts)
        return parts[0].backend if parts else None

    def _either(
        self,
        service: str,
        by_control: Callable[[ControlBackend], Answer],
        by_engine: Callable[[Instance], Answer],
    ) -> Answer:
        """Ask the control API where it knows the service, the engine where it does not."""
        instances = self._instances()
        own = [c for c in instances if _called(c) == service and not c.supervised]
        silent: ControlError | None = None
        for part in self._parts(instances):
            try:
                part.backend.service(service)
            except ControlError as trouble:
                silent = trouble if trouble.code in _UNREACHABLE else silent
            else:
                return by_control(part.backend)
        if own:
            return by_engine(own[0])
        if silent is not None:
            # A process is in no instance of its own: then there is nobody else to ask.
            raise silent
        names = ", ".join(sorted(str(row["service"]) for row in self.all()))
        raise UnknownService(f"{self._layout.stack} has no service {service!r} (it has: {names})")


def _under_way(backend: ControlBackend, status: ServiceStatus) -> bool:
    # A process that is STARTING may wait for another one without end.
    starts = status.state is State.STARTING and isinstance(backend, HttpBackend)
    return starts or status.state is State.STOPPING


def _all(backend: ControlBackend, stream: Stream) -> Stream:
    """Of a container both streams are one log, as the engine shows it; a process has two files."""
    return "all" if stream == "stdout" and isinstance(backend, HttpBackend) else stream


def _row(status: ServiceStatus, kind: str) -> dict[str, Any]:
    plain = status.to_dict()
    return {
        "service": status.name,
        "kind": kind,
        "state": status.state.upper(),
        "health": str(status.health),
        "pid": status.pid,
        "uptime": status.uptime if status.pid else None,
        "restarts": status.restarts,
        "memory_bytes": status.memory_bytes if status.pid else None,
        "exit": plain["exit"],
        "ports": plain["ports"],
        "reason": status.reason,
        "wanted": status.wanted,
    }


def _called(instance: Instance) -> str:
    """What the control API calls it: the first replica has the service's name."""
    again = f"-{instance.replica}" if instance.replica > 1 else ""
    return instance.service + again


def _of_instance(instance: Instance) -> dict[str, Any]:
    running = instance.state == "running"
    return {
        "service": _called(instance),
        "kind": instance.kind,
        "state": instance.state.upper(),
        "health": instance.health,
        "pid": instance.pid or None,
        "uptime": _age(instance.started_at) if running else None,
        "restarts": instance.restarts,
        "memory_bytes": None,
        "exit": None if running else {"code": instance.exit_code, "signal": None, "at": None},
        "ports": [],
        "reason": None if running else (instance.refused or f"exit code {instance.exit_code}"),
        "wanted": "down" if instance.held else "up",
    }


def _silent(service: str, kind: str, trouble: ControlError) -> dict[str, Any]:
    return {
        "service": service,
        "kind": kind,
        "state": UNREACHABLE,
        "health": "none",
        "pid": None,
        "uptime": None,
        "restarts": 0,
        "memory_bytes": None,
        "exit": None,
        "ports": [],
        "reason": trouble.detail,
        "wanted": "up",
    }


def _age(started_at: str) -> float | None:
    # The engine writes nanoseconds, which fromisoformat of Python 3.11 does not read.
    head, _, tail = started_at.partition(".")
    try:
        moment = datetime.fromisoformat(f"{head}+00:00" if tail else head)
    except ValueError:
        return None
    return round(time.time() - moment.timestamp(), 1)
