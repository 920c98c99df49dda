"""The services of a stack on this host, and the means to start and stop them.

Whatever answers the control API of the stack is asked: the supervisor of the unified container, and
the gateway for what runs in other containers, whose audit trail then has it. What neither knows, as
all containers while a gateway is down, is asked of the engine itself.
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
from moorage.deploy import docker
from moorage.deploy.release import readable_release
from moorage.release.layout import Layout
from moorage.release.names import GATEWAY, GATEWAY_UNIT, NEXT, UNIFIED, in_slot
from process_supervisor.control.client import Client

_SUPERVISOR = "supervisor"
_TIMEOUT_SECONDS = 60.0
_LOOK_SECONDS = 0.5
_UNREACHABLE = ("unreachable", "timeout")

Answer = TypeVar("Answer")


class UnknownService(Exception):
    """The stack has no such service; the message names those that it has."""


class Services:
    """The services of one deployed stack."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def all(self) -> list[dict[str, Any]]:
        """Return the status of every service; a control API that is down is a row of its own."""
        containers = docker.containers_of(self._layout.stack)
        found: list[dict[str, Any]] = []
        for part in self._parts(containers):
            kind = "process" if part.name == _SUPERVISOR else "container"
            # While one form of the stack follows upon another both may know a service.
            rows = {row["service"] for row in found}
            try:
                own = [_row(status, kind) for status in part.backend.services()]
            except ControlError as trouble:
                own = [_silent(kind, trouble)]
            found += [row for row in own if row["service"] not in rows]
        known = {row["service"] for row in found} | {UNIFIED}
        names = {container.name for container in containers}
        # During an update there are two; a first one that failed is all that there is.
        shown = (
            c
            for c in containers
            if c.name.removesuffix(NEXT) == c.name or c.name.removesuffix(NEXT) not in names
        )
        found.extend(_of_container(c) for c in shown if c.service not in known)
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

        def by_engine(container: docker.Container) -> dict[str, Any]:
            grace = docker.grace(container.name)
            docker.run([verb, container.name], timeout_seconds=grace + 120)
            return self._one(service)

        return self._either(service, by_control, by_engine)

    def reopen(self) -> None:
        """Have the supervisor open its log files anew (after a rotation from outside)."""
        # Both slots during an update: both write into the same files.
        for container in docker.containers_of(self._layout.stack):
            if container.service == UNIFIED and container.state == "running":
                socket = self._layout.control_socket(in_slot(UNIFIED, container.slot))
                Client(str(socket), timeout=_TIMEOUT_SECONDS).reopen()

    def log(
        self, service: str, lines: int, stream: Stream = "stdout", times: bool = False
    ) -> list[str]:
        """Return the last lines of a service's log, with when they were written where known."""
        return self._either(
            service,
            lambda backend: backend.logs(
                service, stream=_all(backend, stream), lines=lines, times=times
            ),
            lambda container: docker.logs(container.name, lines, times),
        )

    def follow(
        self, service: str, lines: int, stream: Stream = "stdout", times: bool = False
    ) -> Iterator[str]:
        """Yield a service's log lines as they are written, beginning with the last ``lines``.

        Raises UnknownService for one that only the engine knows: `container_name` names it.
        """

        def refuse(container: docker.Container) -> Iterator[str | None]:
            raise UnknownService(f"{container.name} is followed by docker logs")

        found = self._either(
            service,
            lambda b: b.follow(service, stream=_all(b, stream), lines=lines, times=times),
            refuse,
        )
        return (line for line in found if line is not None)

    def container_name(self, service: str) -> str | None:
        """Return the container of a service that no control API knows, None for any other."""
        return self._either(service, lambda _: None, lambda container: container.name)

    def events(self, limit: int) -> list[Event]:
        """Return what happened to services, oldest first."""
        backend = self._backend(docker.containers_of(self._layout.stack))
        return backend.events(limit=limit) if backend else []

    def measured(self) -> tuple[list[ServiceStatus], list[Event]]:
        """Return what metrics are made of; empty where nothing answers a control API."""
        backend = self._backend(docker.containers_of(self._layout.stack))
        return (backend.services(), backend.events(limit=500)) if backend else ([], [])

    def _one(self, service: str) -> dict[str, Any]:
        return next(row for row in self.all() if row["service"] == service)

    def _parts(self, containers: list[docker.Container]) -> list[Part]:
        found = []
        own = [c for c in containers if c.service == UNIFIED and not c.name.endswith(NEXT)]
        if own:
            socket = self._layout.control_socket(in_slot(UNIFIED, own[0].slot))
            process = ProcessBackend(str(socket), timeout=_TIMEOUT_SECONDS)
            found.append(Part(_SUPERVISOR, process))
        release = readable_release(self._layout)
        if release is not None and GATEWAY_UNIT in release.manifest.install:
            path = str(self._layout.control_socket(GATEWAY))
            found.append(Part(GATEWAY, HttpBackend(path, timeout=_TIMEOUT_SECONDS)))
        return found

    def _backend(self, containers: list[docker.Container]) -> ControlBackend | None:
        parts = self._parts(containers)
        if len(parts) == 2:
            return MergedBackend(*parts)
        return parts[0].backend if parts else None

    def _either(
        self,
        service: str,
        by_control: Callable[[ControlBackend], Answer],
        by_engine: Callable[[docker.Container], Answer],
    ) -> Answer:
        """Ask the control API where it knows the service, the engine where it does not."""
        containers = docker.containers_of(self._layout.stack)
        own = [c for c in containers if c.service == service != UNIFIED]
        silent: ControlError | None = None
        for part in self._parts(containers):
            try:
                part.backend.service(service)
            except ControlError as trouble:
                silent = trouble if trouble.code in _UNREACHABLE else silent
            else:
                return by_control(part.backend)
        if own:
            return by_engine(own[0])
        if silent is not None:
            # A process is in no container of its own: then there is nobody else to ask.
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


def _of_container(container: docker.Container) -> dict[str, Any]:
    running = container.state == "running"
    return {
        "service": container.service,
        "kind": "container",
        "state": container.state.upper(),
        "health": container.health,
        "pid": container.pid or None,
        "uptime": _age(container.started_at) if running else None,
        "restarts": container.restarts,
        "memory_bytes": None,
        "exit": None if running else {"code": container.exit_code, "signal": None, "at": None},
        "ports": [],
        "reason": None if running else (container.refused or f"exit code {container.exit_code}"),
        "wanted": "down" if container.held else "up",
    }


def _silent(kind: str, trouble: ControlError) -> dict[str, Any]:
    return {
        "service": UNIFIED if kind == "process" else GATEWAY,
        "kind": "supervisor" if kind == "process" else "gateway",
        "state": "UNREACHABLE",
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
