"""The unified topology: own services as processes of one container, data services beside it."""

from __future__ import annotations

import json
from typing import Literal

from moorage.release import manifest
from moorage.release.manifest import Directory, Unit
from moorage.release.names import SUPERVISOR, UNIFIED
from moorage.render.compose_file import compose_files
from moorage.render.container import container
from moorage.render.context import Context, own_user, service_user
from moorage.render.facts import portable_build, rendered, service_fact
from moorage.render.gateway import asks, gateway
from moorage.render.mounts import User, config_files
from moorage.render.ports import listening
from moorage.render.rendering import (
    BuildFact,
    RenderedFile,
    Rendering,
)
from moorage.render.replicas import refuse
from moorage.render.service import PlacedService, replica_names
from moorage.render.slots import Form, in_slots
from moorage.render.topology import Topology
from moorage.render.traffic import Traffic, refuse_ready, traffic
from moorage.render.unified.container import (
    CONFIG_DIR,
    STATE_DIR,
    slot_directories,
    unified_form,
)
from moorage.render.unified.keys import CONTAINER, PROCESS
from moorage.render.unified.process import RUN_DIR, processes
from moorage.render.units import tied, unit_facts


def _render(ctx: Context) -> Rendering:
    own = [service for service in ctx.services.values() if not service.is_data]
    data = [service for service in ctx.services.values() if service.is_data]
    for service in data:
        refuse_ready(ctx, service)
    user = own_user(ctx)
    users: dict[str, User | None] = {
        **{service.name: user for service in own},
        **{service.name: service_user(service) for service in data},
    }
    builds = _builds(ctx, own)
    visitors = traffic(ctx)
    slotted = in_slots(ctx, _forms(ctx, own, data, users, visitors))
    # The supervisor knows its processes alone; what is beside them the gateway has.
    controlling = any(asks(service) for service in own)
    of_gateway, directory = gateway(ctx, user[1] if controlling else 0)
    files = {
        **compose_files(ctx, slotted.services),
        **(of_gateway if data else {}),
        **({SUPERVISOR: _supervisor(ctx, own, user)} if own else {}),
        **config_files(ctx),
    }
    _check_ports(ctx, own)
    _check_names(ctx, own)
    return rendered(
        ctx,
        files,
        users,
        directories=(
            *(_directories(ctx, user, slotted.units) if own else ()),
            *((directory,) if data else ()),
        ),
        builds=builds,
        services=tuple(_facts(ctx, service) for service in ctx.services.values()),
        slotted=slotted,
        visitors=visitors,
    )


def _dirs(ctx: Context) -> tuple[str, str]:
    unified = ctx.stack.moorage.unified
    return (unified.data_dir, unified.log_dir) if unified else ("/app/data", "/app/logs")


def _builds(ctx: Context, own: list[PlacedService]) -> tuple[BuildFact, ...]:
    if not own:
        return ()
    unified = ctx.stack.moorage.unified
    if unified is None or unified.build is None:
        names = ", ".join(service.name for service in own)
        advice = "add x-moorage: {unified: {build: {context: ., target: unified}}}"
        message = f"nothing says how to build the image that holds {names}"
        ctx.wrong("", "x-moorage.unified.build", message, advice)
        return ()
    image = f"moorage/{ctx.stack.name}-{UNIFIED}"
    return (BuildFact(UNIFIED, image, portable_build(ctx, unified.build)),)


def _forms(
    ctx: Context,
    own: list[PlacedService],
    data: list[PlacedService],
    users: dict[str, User | None],
    visitors: Traffic,
) -> list[Form]:
    forms = []
    for service in data:
        _check_waits(ctx, service)
        if service.scaled is not None and service.scaled > 1:
            refuse(ctx, service, "containers", ())
        image = ctx.image(service.image or "", service.image or "")
        entry = container(ctx, service, users[service.name], CONTAINER, image)
        units = unit_facts(ctx, service, image)
        forms += [Form(entry, unit, service.name, tied=tied(ctx, service)) for unit in units]
    if own:
        if UNIFIED in ctx.services:
            message = "is the name of the unified container itself"
            ctx.wrong(UNIFIED, "name", message, "give the service another name")
        targets = tuple(port for ports in visitors.targets.values() for port in ports)
        forms.append(unified_form(ctx, own, own_user(ctx), _dirs(ctx), targets))
    return forms


def _check_waits(ctx: Context, service: PlacedService) -> None:
    for name in service.depends_on:
        other = ctx.services.get(name)
        if other is not None and not other.is_data:
            advice = "let the process wait for the data service instead"
            message = "a container cannot wait for a process of the unified container"
            ctx.wrong(service.name, f"depends_on.{name}", message, advice)


def _supervisor(ctx: Context, own: list[PlacedService], user: User) -> RenderedFile:
    data_dir, log_dir = _dirs(ctx)
    config = {
        "version": 1,
        "supervisor": {
            "socket": f"{RUN_DIR}/control.sock",
            "socket_mode": "0660",
            "run_dir": RUN_DIR,
            # Of the slot, and not below /run: what an operator has stopped stays so over a boot.
            "state_dir": STATE_DIR,
            "log_file": f"{log_dir}/supervisor.log",
            "pids_file": f"{data_dir}/pids.env",
        },
        "processes": [entry for service in own for entry in processes(ctx, service, user, log_dir)],
    }
    content = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    return RenderedFile(content)


def _check_ports(ctx: Context, own: list[PlacedService]) -> None:
    """Two processes cannot listen on one port: they share the container's network."""
    taken: dict[tuple[int, str], str] = {}
    for service in own:
        for port, protocol in listening(service):
            holder = taken.setdefault((port, protocol), service.name)
            if holder != service.name:
                message = f"{holder} listens on {port}/{protocol} in the same container"
                advice = "let one of them listen on another port"
                ctx.wrong(service.name, "ports", message, advice, port)


def _check_names(ctx: Context, own: list[PlacedService]) -> None:
    """No two processes may have one name, such as a service that is called like a replica."""
    taken: dict[str, str] = {}
    for service in own:
        for name in replica_names(service):
            holder = taken.setdefault(name, service.name)
            if holder != service.name:
                message = f"its process {name} has the name of one of {holder}'s"
                ctx.wrong(service.name, "name", message, "give the service another name")


def _directories(ctx: Context, user: User, units: tuple[Unit, ...]) -> tuple[Directory, ...]:
    base = ctx.settings.base_dir
    shared = (
        Directory(f"{base}/data/{UNIFIED}", *user, "0750"),
        Directory(f"{base}/logs", *user, "0755"),
    )
    slots = [slot for unit in units if unit.service == UNIFIED for slot in unit.keys]
    of_slots = [
        Directory(path, 0, 0, "0755") if target == CONFIG_DIR else Directory(path, *user, "0750")
        for slot in slots
        for target, path in slot_directories(ctx, slot).items()
    ]
    return (*shared, *of_slots)


def _facts(ctx: Context, service: PlacedService) -> manifest.Service:
    place = service.name if service.is_data else UNIFIED
    kind: Literal["process", "container"] = "container" if service.is_data else "process"
    return service_fact(ctx, service, kind, (f"{ctx.stack.name}-{place}",))


TOPOLOGY = Topology(
    name=UNIFIED,
    render=_render,
    columns={"own service (process)": PROCESS, "data service (container)": CONTAINER},
    units=(UNIFIED,),
    on_demand=False,
)
