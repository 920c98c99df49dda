"""Taking a stack away from a host: what runs and what was made for it, never its data."""

from __future__ import annotations

from collections.abc import Callable

from moorage.deploy import docker
from moorage.deploy.layout import Layout
from moorage.deploy.release import current_release, list_releases
from moorage.deploy.topology import Topology, driver
from moorage.edge import Edge

_STOP_SECONDS = 300


def remove(
    layout: Layout,
    find_driver: Callable[[str, Layout], Topology] = driver,
    edge: Edge | None = None,
    *,
    images: bool = False,
) -> list[str]:
    """Take containers, networks, the edge's routes and the control API away.

    With ``images`` also the images that were built for the stack. Returns what was removed.
    """
    edge = edge or Edge.of()
    if edge.present() and edge.facts(layout.stack) is not None:
        edge.apply(layout.stack, None)
        edge.forget(layout.stack)
    containers = docker.containers_of(layout.stack)
    gone = [container.name for container in containers]
    running = [container.name for container in containers if container.state == "running"]
    docker.stop(running, timeout_seconds=_STOP_SECONDS)
    docker.remove(gone)
    release = current_release(layout)
    if release is not None:
        docker.Compose(layout.stack, release.compose_file).down(timeout_seconds=_STOP_SECONDS)
        for form in {r.topology: r for r in list_releases(layout)}.values():
            find_driver(form.topology, layout).retire(form)
        layout.current.unlink()
    layout.marker.unlink(missing_ok=True)
    if images:
        gone += docker.prune_images(layout.stack, ())
    return gone
