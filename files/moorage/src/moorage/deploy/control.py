"""The services of a stack on this host, and the means to start and stop them.

Whatever answers the control API of the stack is asked: the supervisor of the unified container, or
the gateway beside containers, whose audit trail then has it. What neither knows (the data services
beside a unified container, or all while a gateway is down) is asked of the engine itself.
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
    Stream,
)
from moorage.control.http import HttpBackend
from moorage.control.process import ProcessBackend
from moorage.deploy import docker
from moorage.deploy.layout import UNIFIED, Layout, slot_name
from moorage.deploy.release import readable_release
from moorage.deploy.unit import NEXT
from process_supervisor.client import Client

_GATEWAY = "gateway"
# The file of a release that brings the gateway's unit.
GATEWAY_UNIT = "gateway.service"
_TIMEOUT_SECONDS = 60.0
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
        if backend := self._backend(containers):
            kind = "process" if isinstance(backend, ProcessBackend) else "container"
            try:
                found = [_row(status, kind) for status in backend.services()]
            except ControlError as trouble:
                found = [_silent(kind, trouble)]
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

    def act(self, verb: Action, service: str, who: str, reason: str | None) -> dict[str, Any]:
        """Start, stop or restart one service and return its status afterwards."""

        def by_control(backend: ControlBackend) -> dict[str, Any]:
            backend.perform(verb, service, who=who, reason=reason or "")
            return self._one(service)

        def by_engine(container: docker.Container) -> dict[str, Any]:
            docker.run([verb, container.name], timeout_seconds=120)
            return self._one(service)

        return self._either(service, by_control, by_engine)

    def reopen(self) -> None:
        """Have the supervisor open its log files anew (after a rotation from outside)."""
        # Both slots during an update: both write into the same files.
        for container in docker.containers_of(self._layout.stack):
            if container.service == UNIFIED and container.state == "running":
                socket = self._layout.control_socket(slot_name(container.slot))
                Client(str(socket), timeout=_TIMEOUT_SECONDS).reopen()

    def log(self, service: str, lines: int, stream: Stream = "stdout") -> list[str]:
        """Return the last lines of a service's log."""
        return self._either(
            service,
            lambda backend: backend.logs(service, stream=stream, lines=lines),
            lambda container: docker.logs(container.name, lines),
        )

    def follow(self, service: str, lines: int, stream: Stream = "stdout") -> Iterator[str]:
        """Yield a service's log lines as they are written, beginning with the last ``lines``.

        Raises UnknownService for one that only the engine knows: `container_name` names it.
        """

        def refuse(container: docker.Container) -> Iterator[str | None]:
            raise UnknownService(f"{container.name} is followed by docker logs")

        found = self._either(
            service, lambda b: b.follow(service, stream=stream, lines=lines), refuse
        )
        return (line for line in found if line is not None)

    def container_name(self, service: str) -> str | None:
        """Return the container of a service that no control API knows, None for any other."""
        return self._either(service, lambda _: None, lambda container: container.name)

    def events(self, limit: int) -> list[Event]:
        """Return what happened to services, oldest first."""
        backend = self._backend(docker.containers_of(self._layout.stack))
        return backend.events(limit=limit) if backend else []

    def _one(self, service: str) -> dict[str, Any]:
        return next(row for row in self.all() if row["service"] == service)

    def _backend(self, containers: list[docker.Container]) -> ControlBackend | None:
        own = [c for c in containers if c.service == UNIFIED and not c.name.endswith(NEXT)]
        if own:
            socket = self._layout.control_socket(slot_name(own[0].slot))
            return ProcessBackend(str(socket), timeout=_TIMEOUT_SECONDS)
        release = readable_release(self._layout)
        if release is None or GATEWAY_UNIT not in release.manifest.get("install", {}):
            return None
        return HttpBackend(str(self._layout.control_socket(_GATEWAY)), timeout=_TIMEOUT_SECONDS)

    def _either(
        self,
        service: str,
        by_control: Callable[[ControlBackend], Answer],
        by_engine: Callable[[docker.Container], Answer],
    ) -> Answer:
        """Ask the control API where it knows the service, the engine where it does not."""
        containers = docker.containers_of(self._layout.stack)
        backend = self._backend(containers)
        own = [c for c in containers if c.service == service != UNIFIED]
        if backend is not None:
            try:
                backend.service(service)
            except ControlError as trouble:
                # A process is in no container of its own: then there is nobody else to ask.
                if not own and trouble.code in _UNREACHABLE:
                    raise
            else:
                return by_control(backend)
        if own:
            return by_engine(own[0])
        names = ", ".join(sorted(str(row["service"]) for row in self.all()))
        raise UnknownService(f"{self._layout.stack} has no service {service!r} (it has: {names})")


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
        "service": UNIFIED if kind == "process" else _GATEWAY,
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
