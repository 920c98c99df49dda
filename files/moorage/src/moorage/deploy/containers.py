"""The containers topology on a host: one container a service, by Compose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moorage.deploy import docker, project, units
from moorage.deploy.gate import Check
from moorage.deploy.layout import Layout
from moorage.deploy.release import (
    Release,
    current_release,
    install_files,
    remove_files,
    remove_runtime,
)

_SLOT = "gateway"
_RESTART_SECONDS = 120


class ContainersTopology:
    """Driver of the containers topology."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._release: Release | None = None
        self._held: list[str] = []

    def preflight(self, release: Release) -> None:
        """Raise ReleaseError when an image of the release is not on this host."""
        project.require_images(release)

    def start(self, release: Release, timeout_seconds: float) -> dict[str, Any]:
        """Bring the services up; those that start on demand are made, and left as they were."""
        self._release = release
        install_files(release)
        started = units.start(release)
        did = project.up(self._layout, release, timeout_seconds, self._on_demand(release))
        self._held = did["held"]
        return {**did, "changed": did["changed"] or bool(started), "units": started}

    def restart(self, services: Sequence[str]) -> None:
        """Restart containers that run, and run one-offs again to their end.

        One that is stopped reads its secrets when it starts.
        """
        release = self._release or current_release(self._layout)
        known = release.manifest["services"] if release else []
        one_off = {s["name"] for s in known if s.get("one_off")}
        concerned = [c for c in docker.containers_of(self._layout.stack) if c.service in services]
        for container in concerned:
            if container.service in one_off:
                docker.run(["start", "--attach", container.name], timeout_seconds=_RESTART_SECONDS)
        for container in concerned:
            if container.service not in one_off and container.state == "running":
                docker.run(["restart", container.name], timeout_seconds=_RESTART_SECONDS)

    def checks(self) -> Sequence[Check]:
        """Look at every container, and at the units that belong to the stack."""
        release = self._release or current_release(self._layout)
        services = {s["name"]: s for s in release.manifest["services"]} if release else {}
        found = [
            self._check(container, services.get(container.service, {}))
            for container in docker.containers_of(self._layout.stack)
        ]
        if release is not None:
            found.extend(units.checks(release))
        return found

    def prune(self, keep: Sequence[Release]) -> list[str]:
        """Remove images that only releases of the past needed."""
        return docker.prune_images(self._layout.stack, {ref for r in keep for ref in r.images})

    def retire(self, release: Release) -> None:
        """Take away what only this form has beside its containers: the gateway."""
        units.stop(release)
        remove_files(release)
        units.forget()
        remove_runtime(self._layout.runtime(_SLOT))

    def remove(self) -> None:
        """Take containers, networks and the gateway away."""
        release = current_release(self._layout)
        if release is not None:
            project.down(self._layout, release)
            self.retire(release)

    @staticmethod
    def _on_demand(release: Release) -> list[str]:
        return [s["name"] for s in release.manifest["services"] if s.get("on_demand")]

    def _check(self, container: docker.Container, service: Mapping[str, Any]) -> Check:
        idle = container.state in ("created", "exited")
        if idle and container.service in self._held:
            return Check(container.service, True, f"{container.state}: stopped by the operator")
        if idle and service.get("on_demand"):
            return Check(container.service, True, f"{container.state}: starts on demand")
        if service.get("one_off") and container.state == "exited" and container.exit_code == 0:
            return Check(container.service, True, "exited with 0: done")
        return project.check(container)
