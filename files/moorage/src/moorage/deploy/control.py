"""The state of a stack's services on this host, and the means to start and stop them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from moorage.deploy import docker
from moorage.deploy.layout import Layout
from moorage.deploy.release import current_release
from process_supervisor.client import Client, ControlError

_SLOT = "unified"


class UnknownService(Exception):
    """The stack has no such service; the message names those that it has."""


class Services:
    """The services of one deployed stack: processes under the supervisor, and containers."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._client = Client(str(layout.control_socket(_SLOT)), timeout=60.0)

    def all(self) -> list[dict[str, Any]]:
        """Return the status of every service; a supervisor that does not answer is said as such."""
        containers = docker.containers_of(self._layout.stack)
        found = self._processes() if any(c.service == _SLOT for c in containers) else []
        found.extend(_of_container(c) for c in containers if c.service != _SLOT)
        return found

    def _processes(self) -> list[dict[str, Any]]:
        try:
            return [_of_process(status) for status in self._client.status()]
        except (ControlError, OSError) as trouble:
            return [_silent(trouble)]

    def act(self, verb: str, service: str, who: str, reason: str | None) -> dict[str, Any]:
        """Start, stop or restart one service and return its status afterwards."""
        if self._is_process(service):
            status = getattr(self._client, verb)(service, who=who, reason=reason)
            return _of_process(status)
        container = self._container(service)
        docker.run([verb, container.name], timeout_seconds=120)
        return _of_container(self._container(service))

    def reopen(self) -> None:
        """Have the supervisor open its log files anew (after a rotation from outside)."""
        self._client.reopen()

    def log(self, service: str, lines: int, stream: str = "stdout") -> list[str]:
        """Return the last lines of a service's log."""
        if self._is_process(service):
            return list(self._client.logs(service, stream=stream, lines=lines))
        return docker.logs(self._container(service).name, lines)

    def follow(self, service: str, lines: int, stream: str = "stdout") -> Iterator[str]:
        """Yield a process's log lines as they are written, beginning with the last ``lines``."""
        return iter(self._client.follow(service, stream=stream, lines=lines))

    def container_name(self, service: str) -> str | None:
        """Return the container of a service that is one, None for a process."""
        return None if self._is_process(service) else self._container(service).name

    def _is_process(self, service: str) -> bool:
        try:
            return any(status["name"] == service for status in self._client.status())
        except (ControlError, OSError):
            release = current_release(self._layout)
            known = release.manifest.get("services", []) if release else []
            if any(s["name"] == service and s["kind"] == "process" for s in known):
                raise
            return False

    def _container(self, service: str) -> docker.Container:
        containers = docker.containers_of(self._layout.stack)
        for container in containers:
            if container.service == service:
                return container
        names = ", ".join(sorted(str(s["service"]) for s in self.all()))
        raise UnknownService(f"{self._layout.stack} has no service {service!r} (it has: {names})")


def _of_process(status: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "service": status["name"],
        "kind": "process",
        "state": status["state"],
        "health": status["health"],
        "pid": status["pid"],
        "uptime": status["uptime"] if status["pid"] else None,
        "restarts": status["restarts"],
        "memory_bytes": status["memory_bytes"] if status["pid"] else None,
        "exit": status["exit"],
        "ports": status["ports"],
        "reason": status["reason"],
        "wanted": status["wanted"],
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
        "reason": None if running else f"exit code {container.exit_code}",
        "wanted": "up",
    }


def _silent(trouble: Exception) -> dict[str, Any]:
    return {
        "service": _SLOT,
        "kind": "supervisor",
        "state": "UNREACHABLE",
        "health": "none",
        "pid": None,
        "uptime": None,
        "restarts": 0,
        "memory_bytes": None,
        "exit": None,
        "ports": [],
        "reason": str(trouble),
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
