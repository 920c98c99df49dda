"""What a rollout does, worked out before any of it is done: a dry run shows the same list."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from moorage.common.readers import read_note
from moorage.deploy.claims import refuse_changed_networks
from moorage.deploy.difference import Difference, Leftovers, Operation, difference, leftovers
from moorage.deploy.drivers.base import FindDriver
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release, readable_release
from moorage.deploy.scene import Limits, Scene
from moorage.deploy.traffic import Traffic
from moorage.edge.core import Edge
from moorage.release.layout import Layout
from moorage.release.names import NEXT


@dataclass(frozen=True)
class Plan:
    """What there is to do, and what an interrupted rollout has left to finish with first.

    ``held`` names services that somebody has stopped: they are renewed, and stay stopped.
    """

    todo: Difference
    left: Leftovers
    held: list[str]
    operations: list[Operation]


def plan(scene: Scene, restart: Collection[str], held: Sequence[str] | None = None) -> Plan:
    """Compare what the host runs with the scene's release; changes nothing.

    ``restart`` names services that start anew in any case; ``held`` those that somebody has
    stopped, where that is known from before.
    """
    before = list(scene.look().values())
    wanted = {unit.name: unit.config for unit in scene.units}
    left = leftovers(before, scene.traffic.serving(), wanted)
    instances = _tidied(before, left)
    there = {instance.name: instance for instance in instances}
    # While it is under way, what was handed over looks as if somebody had stopped it.
    stopped = scene.driver.held(scene.release, instances) if held is None else list(held)
    stale = scene.driver.stale(scene.release, there, restart)
    todo = difference(scene.units, instances, held=stopped, anew=stale)
    found = [*left.operations(), *_turns(scene), *todo.operations(there)]
    anew = {unit.name for unit in (*todo.roll, *todo.place, *todo.create)}
    for unit in scene.units:
        instance = there.get(unit.name)
        runs = instance is not None and instance.state == "running"
        if instance is not None and runs and unit.name not in anew:
            found += scene.driver.adapts(scene.release, unit, instance, restart, stopped)
    return Plan(todo, left, stopped, found)


def operations(
    layout: Layout,
    release: Release,
    restart: Collection[str],
    find_driver: FindDriver,
    edge: Edge | None = None,
) -> list[Operation]:
    """Return what an activation of the release would do on this host; changes nothing.

    Raises ReleaseError for what no activation can do.
    """
    refuse_changed_networks(readable_release(layout), release)
    traffic = Traffic(layout.stack, edge or Edge.of())
    scene = Scene(layout, release, find_driver(release.topology, layout), traffic, Limits())
    return plan(scene, restart, read_marker(layout).get("held")).operations


def read_marker(layout: Layout) -> dict[str, Any]:
    """Return what a rollout that was cut off has noted of itself; nothing where none was."""
    if not os.path.lexists(layout.marker):
        return {}
    marker = read_note(layout.marker)
    held = marker.get("held")
    known = isinstance(held, list) and all(isinstance(name, str) for name in held)
    # One that is torn tells of an interrupted rollout all the same.
    return {**marker, "held": held if known else None}


def _turns(scene: Scene) -> list[Operation]:
    return [
        Operation("directory to change hands", f"{turn.path}: {turn.old} to {turn.new}")
        for turn in scene.owners.turns()
    ]


def _tidied(instances: Sequence[Instance], left: Leftovers) -> list[Instance]:
    """Return the instances as they are once what was left is finished with."""
    gone = {c.name for c in left.remove} | set(left.finish)
    moved = {name + NEXT: name for name in (*left.finish, *left.rename)}
    return [replace(c, name=moved.get(c.name, c.name)) for c in instances if c.name not in gone]
