"""The unified topology on a host: one container under our supervisor, data services beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from moorage.deploy import docker, project
from moorage.deploy.gate import Check
from moorage.deploy.layout import Layout
from moorage.deploy.release import (
    Release,
    ReleaseError,
    current_release,
    install_files,
    remove_files,
    remove_runtime,
)
from process_supervisor.client import Client, ControlError

_SLOT = "unified"
_CONTROL_TIMEOUT_SECONDS = 5.0
_LOG_LINES = 15
_RELOADED = ("added", "removed", "changed")
# What a supervisor that is still starting looks like from here.
_NOT_YET = ("unreachable", "timeout")


class UnifiedTopology:
    """Driver of the unified topology."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def preflight(self, release: Release) -> None:
        """Raise ReleaseError when an image of the release is not on this host."""
        project.require_images(release)

    def start(self, release: Release, timeout_seconds: float) -> dict[str, Any]:
        """Put the release's configuration in place, bring its containers up, reload processes."""
        deadline = time.monotonic() + timeout_seconds
        install_files(release)
        did = project.up(self._layout, release, timeout_seconds)
        reloaded = self._reload(deadline)
        touched = sorted(name for key in _RELOADED for name in reloaded[key])
        return {**did, "changed": did["changed"] or bool(touched), "processes": touched}

    def restart(self, services: Sequence[str]) -> None:
        """Restart processes through the supervisor and data services through the engine.

        What the operator has stopped stays stopped: it reads its secrets when it is started.
        """
        containers = {c.service: c.name for c in docker.containers_of(self._layout.stack)}
        wanted = {p["name"]: p["wanted"] for p in self._client().status()}
        for service in services:
            if wanted.get(service) == "up":
                self._client().restart(service, who="moorage", reason="a secret was replaced")
            elif service in containers:
                docker.run(["restart", containers[service]], timeout_seconds=120)

    def checks(self) -> Sequence[Check]:
        """Look at the data services through the engine, at the processes through the supervisor."""
        containers = docker.containers_of(self._layout.stack)
        found = [project.check(c) for c in containers if c.service != _SLOT]
        try:
            found.extend(_check_process(p) for p in self._client().status())
        except (ControlError, OSError) as trouble:
            found.append(self._check_supervisor(containers, trouble))
        return found

    def prune(self, keep: Sequence[Release]) -> list[str]:
        """Remove images that only releases of the past needed."""
        return docker.prune_images(self._layout.stack, {ref for r in keep for ref in r.images})

    def retire(self, release: Release) -> None:
        """Take away the configuration of processes; the new form has replaced the container."""
        remove_files(release)
        remove_runtime(self._layout.runtime(_SLOT))

    def remove(self) -> None:
        """Take containers, network and configuration away."""
        release = current_release(self._layout)
        if release is not None:
            project.down(self._layout, release)
            self.retire(release)

    def _client(self) -> Client:
        return Client(str(self._layout.control_socket(_SLOT)), timeout=_CONTROL_TIMEOUT_SECONDS)

    def _reload(self, deadline: float) -> Mapping[str, Sequence[str]]:
        while True:
            try:
                return self._client().reload()
            except (ControlError, OSError) as trouble:
                if isinstance(trouble, ControlError) and trouble.code not in _NOT_YET:
                    raise
                if time.monotonic() >= deadline:
                    raise ReleaseError(
                        f"the supervisor of {self._layout.stack} did not answer at "
                        f"{self._layout.control_socket(_SLOT)}: {trouble}"
                    ) from trouble
                time.sleep(0.05)

    def _check_supervisor(
        self, containers: Sequence[docker.Container], trouble: Exception
    ) -> Check:
        own = [c for c in containers if c.service == _SLOT]
        if not own:
            return Check(_SLOT, False, "its container does not exist")
        container = own[0]
        return Check(
            _SLOT,
            False,
            f"container {container.state}, the supervisor does not answer ({trouble})",
            log=docker.logs(container.name, _LOG_LINES),
        )


def _check_process(status: Mapping[str, Any]) -> Check:
    name, state, health = str(status["name"]), status["state"], status["health"]
    if status["wanted"] == "down":
        return Check(name, True, f"{state}: stopped by the operator")
    if state == "RUNNING" and health in ("none", "healthy"):
        return Check(name, True, "RUNNING" if health == "none" else f"RUNNING, {health}")
    ended = status.get("exit") or {}
    if state == "EXITED" and ended.get("code") == 0:
        return Check(name, True, "EXITED with 0: done")
    detail = f"{state}, health {health}"
    if status.get("reason"):
        detail += f": {status['reason']}"
    elif ended:
        detail += f": last exit {json.dumps(ended)}"
    hopeless = state in ("FATAL", "EXITED")
    return Check(name, False, detail, hopeless, tuple(status.get("log_tail") or ()))
