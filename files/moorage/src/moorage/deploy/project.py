"""A release's Compose project on the engine: what all topologies with containers share."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

from moorage.deploy import docker
from moorage.deploy.gate import Check
from moorage.deploy.layout import Layout, write_atomically
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
    layout: Layout, release: Release, timeout_seconds: float, on_demand: Sequence[str] = ()
) -> dict[str, Any]:
    """Bring the project to what the release describes; what is the same already runs on.

    Containers of another release that this one does not describe are removed. Services of
    ``on_demand`` are made but not started, and go on running where they ran; one that somebody
    stopped stays stopped, and what depends on it is as it was. Returns ``changed``, the names in
    ``containers`` (made, replaced or started) and ``removed``, and the services ``held``.
    """
    old = docker.containers_of(layout.stack)
    compose = docker.Compose(layout.stack, release.compose_file)
    needs = compose.dependencies()
    stale = _stale(old, compose.hashes())
    held = _held(layout, release, old)
    idle = {*on_demand, *held, *_dependents(needs, held)}
    order = list(TopologicalSorter(needs).static_order())
    if stale or not _in_order(release, old, idle):
        for service in order:
            # In one go Compose (2.26) also replaces all that depends on what it replaces.
            if service in stale and service not in idle:
                compose.up([service], timeout_seconds=timeout_seconds)
        named = sorted(needs.keys() - idle) if held else []
        if named or not held:
            compose.up(named, timeout_seconds=timeout_seconds, orphans=True)
    present = {c.service for c in old}
    for service in order:
        if service in idle and (service in stale or service not in present):
            compose.create(service, timeout_seconds=timeout_seconds)
    _start_again(layout, {c.service for c in old if c.state == "running"} & idle)
    return {**_difference(release, old, docker.containers_of(layout.stack)), "held": held}


def _in_order(
    release: Release, containers: Sequence[docker.Container], idle: Collection[str]
) -> bool:
    """Tell whether these are the release's containers, and all run that are meant to.

    Then nothing has to be brought up, which would run one-offs once more.
    """
    services = {s["name"]: s for s in release.manifest["services"]}
    expected = {name for s in services.values() for name in s["containers"]}
    return {c.name for c in containers} == expected and all(
        c.state == "running"
        or c.service in idle
        or (services[c.service].get("one_off") and c.state == "exited" and c.exit_code == 0)
        for c in containers
    )


def _stale(containers: Sequence[docker.Container], hashes: Mapping[str, str]) -> set[str]:
    return {
        c.service for c in containers if c.service in hashes and c.config_hash != hashes[c.service]
    }


def _dependents(needs: Mapping[str, set[str]], services: Sequence[str]) -> set[str]:
    """Return what depends on one of ``services``, directly or not."""
    found: set[str] = set()
    wanted = set(services)
    while more := {n for n, on in needs.items() if on & (wanted | found)} - found:
        found |= more
    return found


def _start_again(layout: Layout, services: set[str]) -> None:
    for container in docker.containers_of(layout.stack):
        if container.service in services and container.state != "running":
            docker.run(["start", container.name])


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
