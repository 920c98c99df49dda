"""Taking a stack away from a host: what runs and what was made for it, never its data."""

from __future__ import annotations

import os
from collections.abc import Callable

from moorage.common.files import discard
from moorage.deploy import docker
from moorage.deploy.drivers import driver
from moorage.deploy.release import list_releases
from moorage.deploy.topology import Topology
from moorage.edge import Edge
from moorage.release.layout import Layout

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
    longest = max((container.stop_seconds for container in containers), default=0.0)
    docker.stop(running, timeout_seconds=_STOP_SECONDS + longest)
    docker.remove(gone)
    # By labels: the file of a release may be damaged.
    docker.sweep(layout.stack)
    if os.path.lexists(layout.current):
        for form in {r.topology: r for r in list_releases(layout)}.values():
            find_driver(form.topology, layout).retire(form)
        discard(layout.current)
    discard(layout.marker)
    if images:
        gone += docker.prune_images(layout.stack, ())
    return gone
