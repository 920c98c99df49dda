"""From the model of a stack to the files of a release, a package a topology."""

from __future__ import annotations

from collections.abc import Iterator

from moorage.compose.errors import ComposeError, Problem, did_you_mean, shown
from moorage.compose.load import started_only
from moorage.compose.model import Stack
from moorage.render.containers import topology as containers
from moorage.render.context import Context
from moorage.render.host import topology as host
from moorage.render.rendering import RenderedFile, Rendering
from moorage.render.service import placed_services
from moorage.render.shipped import with_data
from moorage.render.topology import Topology
from moorage.render.unified import topology as unified
from moorage.settings.stack import Limits, Settings

__all__ = ["Limits", "RenderedFile", "Rendering", "Settings", "render_stack", "topologies"]

_TOPOLOGIES = {
    entry.name: entry for entry in (containers.TOPOLOGY, host.TOPOLOGY, unified.TOPOLOGY)
}


def topologies() -> tuple[Topology, ...]:
    """Return the topologies that a stack can be rendered for."""
    return tuple(_TOPOLOGIES.values())


def _told(stack: Stack) -> Iterator[str]:
    """Yield what a person should know of a stack, whatever its topology."""
    for name in stack.unset:
        yield f"the variable {name} is not set: it is empty where the Compose file has it"
    idle = "has no effect: the hosts' Compose reads it and does nothing with it"
    for service in stack.services.values():
        for key, options in service.networks.items():
            if "gw_priority" in (options or {}):
                yield f"services.{service.name}.networks.{key}.gw_priority {idle}"
        for index, mount in enumerate(service.volumes):
            if "recursive" in mount.options.get("bind", {}):
                yield f"services.{service.name}.volumes[{index}].bind.recursive {idle}"
    for key, network in stack.networks.items():
        if "enable_ipv4" in network.options:
            yield f"networks.{key}.enable_ipv4 {idle}"
        if network.external:
            yield (
                f"networks.{key}: is external: where a host does not have it, make it there with "
                f"`docker network create {network.name}`"
            )


def render_stack(stack: Stack, settings: Settings) -> Rendering:
    """Render a stack for the topology that its settings name. Pure.

    Raises ComposeError naming service and key for what the topology cannot honour.
    """
    topology = _TOPOLOGIES.get(settings.topology)
    if topology is None:
        advice = did_you_mean(settings.topology, _TOPOLOGIES)
        message = f"topology {settings.topology!r} cannot be rendered; {advice}"
        raise ComposeError([Problem("settings.topology", message, value=shown(settings.topology))])
    stack = stack if topology.on_demand else started_only(stack)
    stack, notes, wrong = with_data(stack)
    services, problems = placed_services(stack, settings)
    notes += _told(stack)
    ctx = Context(stack, settings, services, [*wrong, *problems], notes)
    # A stack that changes its topology may keep its limits.
    ctx.check_names({unit for entry in topologies() for unit in entry.units})
    rendering = topology.render(ctx)
    if ctx.problems:
        raise ComposeError(ctx.problems)
    return rendering
