"""A release's Compose project on the engine: what all topologies with containers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moorage.deploy import docker
from moorage.deploy.gate import Check
from moorage.deploy.layout import Layout
from moorage.deploy.release import Release, ReleaseError

_LOG_LINES = 15
_STOP_SECONDS = 300


def require_images(release: Release) -> None:
    """Raise ReleaseError when an image of the release is not on this host."""
    missing = docker.missing_images(release.images)
    if missing:
        raise ReleaseError(
            f"release {release.id} needs images that this host does not hold: "
            f"{', '.join(missing)}. Run the deploy again: it builds them"
        )


def up(
    layout: Layout,
    release: Release,
    timeout_seconds: float,
    on_demand: Sequence[str] = (),
    first: Sequence[str] = (),
) -> dict[str, Any]:
    """Bring the project to what the release describes; what is the same already runs on.

    Containers of another release that this one does not describe are removed. Services of
    ``on_demand`` are made but not started, and go on running where they ran; what depends on one
    of ``first`` is not replaced because that one is. Returns ``changed`` and the names in
    ``containers`` (made or replaced) and ``removed``.
    """
    old = docker.containers_of(layout.stack)
    compose = docker.Compose(layout.stack, release.compose_file)
    present = {c.service for c in old}.intersection(first)
    if present:
        # In one go Compose (2.26) would also replace all that depends on what it replaces.
        compose.up(sorted(present), timeout_seconds=timeout_seconds, dependencies=True)
    compose.up(timeout_seconds=timeout_seconds)
    if on_demand:
        compose.create(on_demand, timeout_seconds=timeout_seconds)
    running = {c.service for c in old if c.state == "running"}.intersection(on_demand)
    if running:
        compose.up(sorted(running), timeout_seconds=timeout_seconds)
    before = {c.name: c.id for c in old}
    after = {c.name: c.id for c in docker.containers_of(layout.stack)}
    made = sorted(name for name, ident in after.items() if before.get(name) != ident)
    removed = sorted(set(before) - set(after))
    return {"changed": bool(made or removed), "containers": made, "removed": removed}


def down(layout: Layout, release: Release) -> None:
    """Remove the project's containers and networks."""
    docker.Compose(layout.stack, release.compose_file).down(timeout_seconds=_STOP_SECONDS)


def check(container: docker.Container) -> Check:
    """Say how a container is that is meant to run."""
    detail = container.state
    if container.health != "none":
        detail += f", {container.health}"
    if container.state in ("exited", "dead"):
        detail += f", exit code {container.exit_code}"
    if container.settled:
        return Check(container.service, True, detail)
    lines = docker.logs(container.name, _LOG_LINES)
    return Check(container.service, False, detail, log=lines)
