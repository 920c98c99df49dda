"""The topology containers: every service a container of its own, by Compose on the host."""

from __future__ import annotations

from itertools import chain, count
from typing import Any

from moorage.release import manifest
from moorage.render.compose_file import compose_files
from moorage.render.container import container, ordered
from moorage.render.containers.keys import SERVICE
from moorage.render.context import Context, own_user, service_user
from moorage.render.facts import portable_build, rendered, service_fact
from moorage.render.gateway import connect, control_group, gateway
from moorage.render.mounts import User, config_files
from moorage.render.rendering import BuildFact, Rendering
from moorage.render.replicas import ONCE, Reason, refuse
from moorage.render.restart import restart_kind
from moorage.render.service import PlacedService, replica_names
from moorage.render.slots import Form, in_slots
from moorage.render.topology import Topology
from moorage.render.traffic import traffic
from moorage.render.units import shared, tied, unit_facts


def _render(ctx: Context) -> Rendering:
    users = {service.name: _user(ctx, service) for service in ctx.services.values()}
    builds, keys = _builds(ctx)
    visitors = traffic(ctx)
    forms: list[Form] = []
    controlling: list[str] = []
    for service in ctx.services.values():
        _check(ctx, service)
        entry = _service(ctx, service, users[service.name], keys)
        if connect(ctx, service.name, entry):
            controlling.append(service.name)
        targets = visitors.targets.get(service.name, ())
        forms += _forms(ctx, service, ordered(entry), targets)
    slotted = in_slots(ctx, forms)
    of_gateway, directory = gateway(ctx, control_group(ctx, controlling, users))
    return rendered(
        ctx,
        {**compose_files(ctx, slotted.services), **config_files(ctx), **of_gateway},
        users,
        directories=(directory,),
        builds=builds,
        services=tuple(_fact(ctx, service) for service in ctx.services.values()),
        slotted=slotted,
        visitors=visitors,
    )


def _forms(
    ctx: Context, service: PlacedService, entry: dict[str, Any], targets: tuple[int, ...]
) -> list[Form]:
    return [
        Form(
            entry=entry,
            unit=unit,
            # As Compose takes a name, and no other service's can be.
            key=f"{service.name}.{unit.replica}" if unit.replica > 1 else service.name,
            targets=targets,
            tied=tied(ctx, service),
        )
        for unit in unit_facts(ctx, service, entry["image"])
    ]


def _user(ctx: Context, service: PlacedService) -> User | None:
    """The user of a service; own services that name none run as they do in unified."""
    named = service.moorage.user or service.user
    return own_user(ctx) if named is None and not service.is_data else service_user(service)


def _service(
    ctx: Context, service: PlacedService, user: User | None, keys: dict[str, str]
) -> dict[str, Any]:
    if service.is_data:
        image = ctx.image(service.image or "", service.image or "")
    else:
        key = keys[service.name]
        image = ctx.image(key, f"moorage/{ctx.stack.name}-{key}")
    entry = container(ctx, service, user, SERVICE, image)
    if not service.is_data or "pull_policy" in entry:
        # What is pulled is there before: by a deploy, as the policy says.
        entry["pull_policy"] = "never"
    if service.on_demand:
        entry["profiles"] = list(service.profiles)
    return entry


def _builds(ctx: Context) -> tuple[tuple[BuildFact, ...], dict[str, str]]:
    """Each different build once, and the key of the build of every own service."""
    plain = {service.image for service in ctx.services.values() if service.is_data}
    facts: dict[str, BuildFact] = {}
    keys: dict[str, str] = {}
    for service in ctx.services.values():
        if service.build is None:
            continue
        build = portable_build(ctx, service.build)
        same = (key for key, fact in facts.items() if fact.build == build)
        # Keys and names of plain images are looked up in one mapping.
        more = (f"{service.name}-{number}" for number in count(2))
        names = chain((service.build.target, service.name), more)
        free = (name for name in names if name and name not in facts and name not in plain)
        key = next(same, None) or next(free)
        facts.setdefault(key, BuildFact(key, f"moorage/{ctx.stack.name}-{key}", build))
        keys[service.name] = key
    return tuple(facts.values()), keys


def _check(ctx: Context, service: PlacedService) -> None:
    kind, _ = restart_kind(service)
    if kind in ("always", "unless-stopped") and service.waited_for:
        message = "others wait until it has ended, and it would be started again"
        ctx.wrong(service.name, "restart", message, "write restart: on-failure", kind)
    if service.replicas > 1:
        refuse(ctx, service, "containers", _against_several(ctx, service))


def _against_several(ctx: Context, service: PlacedService) -> list[Reason]:
    reasons = []
    if service.direct_ports:
        advice = "leave its ports to the edge, or leave it at 1"
        reasons.append(("they would share a host port", advice))
    if service.moorage.singleton:
        reasons.append(ONCE)
    if service.fixed_address:
        reasons.append(("they would share an address", "let others find it by its name"))
    if service.name in shared(ctx):
        reason = "others are bound to one of them by links, volumes_from or a namespace"
        reasons.append((reason, "let others find it by its name"))
    return reasons


def _fact(ctx: Context, service: PlacedService) -> manifest.Service:
    names = tuple(f"{ctx.stack.name}-{name}" for name in replica_names(service))
    return service_fact(ctx, service, "container", names)


TOPOLOGY = Topology(name="containers", render=_render, columns={"service": SERVICE})
