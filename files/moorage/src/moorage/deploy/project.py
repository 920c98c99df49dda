"""A release's Compose project on the engine: what all topologies with containers share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from moorage.deploy import docker
from moorage.deploy.gate import Check
from moorage.deploy.layout import Layout, write_atomically
from moorage.deploy.release import Release, ReleaseError

_LOG_LINES = 15
_STOP_SECONDS = 300
UNIFIED = "unified"


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
    ``on_demand`` are made but not started, and go on running where they ran; one that somebody
    stopped stays stopped. What depends on one of ``first`` is not replaced because that one is.
    Returns ``changed``, the names in ``containers`` (made, replaced or started) and ``removed``,
    and the services ``held``.
    """
    old = docker.containers_of(layout.stack)
    compose = docker.Compose(layout.stack, release.compose_file)
    held = _held(layout, release, old)
    present = {c.service for c in old}.intersection(first).difference(held)
    if present:
        # In one go Compose (2.26) would also replace all that depends on what it replaces.
        compose.up(sorted(present), timeout_seconds=timeout_seconds)
    # All of them, unless one has to be left out.
    named = sorted(_composed(release) - set(held) - set(on_demand)) if held else []
    compose.up(named, timeout_seconds=timeout_seconds, dependencies=True)
    if quiet := [*on_demand, *held]:
        compose.create(quiet, timeout_seconds=timeout_seconds)
    running = {c.service for c in old if c.state == "running"}.intersection(on_demand)
    if running:
        compose.up(sorted(running), timeout_seconds=timeout_seconds)
    return {**_difference(release, old, docker.containers_of(layout.stack)), "held": held}


def _held(layout: Layout, release: Release, containers: Sequence[docker.Container]) -> list[str]:
    """Return the services of the release that somebody has stopped, and note them.

    A stopped one whose container was replaced meanwhile looks like one that was never started:
    the note tells them apart.
    """
    own = {s["name"] for s in release.manifest["services"] if s["kind"] == "container"}
    noted = set(json.loads(layout.held.read_text())) if layout.held.exists() else set()
    held = sorted(
        c.service
        for c in containers
        if c.service in own and (c.held or (c.state == "created" and c.service in noted))
    )
    if held or noted:
        write_atomically(layout.held, json.dumps(held) + "\n")
    return held


def _composed(release: Release) -> set[str]:
    # All processes of the unified topology are one service of Compose.
    return {
        s["name"] if s["kind"] == "container" else UNIFIED for s in release.manifest["services"]
    }


def _difference(
    release: Release, old: Sequence[docker.Container], new: Sequence[docker.Container]
) -> dict[str, Any]:
    one_off = {s["name"] for s in release.manifest["services"] if s.get("one_off")}
    before = {c.name: c for c in old}
    made = [
        c.name
        for c in new
        if c.name not in before
        or before[c.name].id != c.id
        # A one-off runs again each time.
        or (c.state == "running" and before[c.name].state != "running" and c.service not in one_off)
    ]
    removed = sorted(before.keys() - {c.name for c in new})
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
