"""Taking a stack away from a host: what runs and what was made for it, never its data."""

from __future__ import annotations

import os

from moorage.common.files import discard
from moorage.deploy.drivers.base import FindDriver
from moorage.deploy.drivers.registry import driver
from moorage.deploy.foreign import remove_tree
from moorage.deploy.release import list_releases, remove_runtime
from moorage.deploy.runtimes.registry import runtime
from moorage.edge import Edge
from moorage.release.layout import Layout

_STOP_SECONDS = 300


def remove(
    layout: Layout,
    find_driver: FindDriver = driver,
    edge: Edge | None = None,
    *,
    images: bool = False,
) -> list[str]:
    """Take instances, networks, the edge's routes and the control API away.

    With ``images`` also the images that were built for the stack. Returns what was removed.
    """
    edge = edge or Edge.of()
    if edge.present() and edge.facts(layout.stack) is not None:
        edge.apply(layout.stack, None)
        edge.forget(layout.stack)
    runs = runtime(layout)
    instances = runs.instances(layout.stack)
    gone = [instance.name for instance in instances]
    running = [instance.name for instance in instances if instance.state == "running"]
    longest = max((instance.stop_seconds for instance in instances), default=0.0)
    runs.stop(running, timeout_seconds=_STOP_SECONDS + longest)
    runs.remove(gone)
    runs.sweep(layout.stack)
    # What a proof has left that was killed: no other one takes it away any more.
    runs.sweep(layout.proof_stack)
    if layout.proof.is_dir():
        remove_tree(layout.proof)
    if os.path.lexists(layout.current):
        for form in {r.topology: r for r in list_releases(layout)}.values():
            find_driver(form.topology, layout).retire(form)
        discard(layout.current)
    discard(layout.marker)
    remove_runtime(layout.run)
    if images:
        gone += runs.prune(layout.stack, ())
    return gone
