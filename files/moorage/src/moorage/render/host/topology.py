"""The topology host: every service a process group of its own, without a container."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from signal import Signals
from typing import Any

from moorage.release import manifest
from moorage.release.manifest import Unit, data_of
from moorage.release.native import HOSTS, PREFIX, PROCESSES, Process
from moorage.render.compose_file import compose_files
from moorage.render.container import labels, ordered, own_labels, published, resources
from moorage.render.context import Context, own_user, service_user
from moorage.render.facts import rendered, service_fact
from moorage.render.gateway import connect, control_group, gateway
from moorage.render.gateway_unit import USER, USER_ID
from moorage.render.host import slots
from moorage.render.host.data import Data, account_files, data_service, unit_name
from moorage.render.host.keys import COLUMNS
from moorage.render.host.managers import PACKAGES, as_managed, manager_files
from moorage.render.host.names import hosts_file, process_unit
from moorage.render.host.process import POWERFUL, in_slot, process, signal_name
from moorage.render.host.watch import watch
from moorage.render.mounts import User, config_files, config_labels, service_mounts
from moorage.render.ports import listening
from moorage.render.rendering import PRIVATE, BuildFact, RenderedFile, Rendering
from moorage.render.replicas import ONCE, Reason, refuse
from moorage.render.restart import restart_kind
from moorage.render.service import PlacedService, replica_names
from moorage.render.slots import Form, Slotted, in_slots
from moorage.render.topology import Topology
from moorage.render.traffic import refuse_ready, traffic
from moorage.render.units import tied, unit_facts

# Of an entry while it is not in its slots yet: what its manager is told is a part of its hash.
_PROCESS = "process"


def _render(ctx: Context) -> Rendering:
    users = {service.name: _user(ctx, service) for service in ctx.services.values()}
    visitors = traffic(ctx)
    builds: dict[str, BuildFact] = {}
    found: dict[str, Process] = {}
    packages = [*PACKAGES.get(ctx.settings.process_manager, ())]
    stand_ins: dict[str, str] = {}
    forms: list[Form] = []
    controlling: list[str] = []
    for service in ctx.services.values():
        refuse_ready(ctx, service)
        ctx.judge(service, COLUMNS["systemd" if service.is_data else ctx.settings.process_manager])
        user = users[service.name] or (0, 0)
        entry = _entry(ctx, service, user)
        if connect(ctx, service.name, entry):
            controlling.append(service.name)
        made = data_service(ctx, service) if service.is_data else None
        build = made.build if made else _environment(ctx, service)
        fact = _shared(ctx, builds, service, BuildFact("", "", build))
        ref = ctx.image(fact.key, fact.image)
        packages += (*(made.packages if made else ()), *slots.extension(service, ctx).packages)
        if made:
            stand_ins[service.image or ""] = made.image
        own = process(ctx, service, user, ref, entry)
        manager = ctx.settings.process_manager
        found[service.name] = (
            made.completed(ctx, own, ref) if made else replace(own, manager=manager)
        )
        _check(ctx, service, user, made)
        entry |= {"image": ref, _PROCESS: as_managed(ctx, found[service.name])}
        forms += _forms(ctx, service, entry, visitors.targets.get(service.name, ()))
    slotted = in_slots(ctx, forms)
    described = {
        key: {name: value for name, value in entry.items() if name != _PROCESS}
        for key, entry in slotted.services.items()
    }
    running = _running(ctx, found, slotted)
    of_watcher, watched = watch(ctx)
    group = control_group(ctx, controlling, users)
    of_gateway, asked = gateway(ctx, group, f"{watched.path}/control.sock")
    return rendered(
        ctx,
        {
            **compose_files(ctx, described),
            **config_files(ctx),
            PROCESSES: _json({key: data_of(entry) for key, entry in running.items()}),
            HOSTS: hosts_file(ctx),
            **account_files(ctx),
            **manager_files(ctx, running, slotted.units),
            **of_watcher,
            **of_gateway,
        },
        users,
        directories=(watched, asked),
        builds=tuple(builds.values()),
        services=tuple(_fact(ctx, service) for service in ctx.services.values()),
        slotted=slotted,
        visitors=visitors,
        images=(),
        packages=tuple(dict.fromkeys(packages)),
        manager=ctx.settings.process_manager,
        stand_ins=stand_ins,
    )


def _user(ctx: Context, service: PlacedService) -> User | None:
    """The user of a service; own services that name none run as they do in unified."""
    named = service.moorage.user or service.user
    return own_user(ctx) if named is None and not service.is_data else service_user(service)


def _entry(ctx: Context, service: PlacedService, user: User) -> dict[str, Any]:
    """A service as the release's compose.yaml has it: what a host compares, and people read."""
    return ordered(
        {
            "user": f"{user[0]}:{user[1]}",
            "command": [*(service.entrypoint or ()), *(service.command or ())],
            "environment": dict(service.variables),
            "ports": published(service.direct_ports),
            "volumes": service_mounts(ctx, service, user),
            "labels": {
                **own_labels(service),
                **config_labels(ctx, service),
                **labels(ctx, service.name),
            },
            "deploy": resources(service.limits),
        }
    )


def _environment(ctx: Context, service: PlacedService) -> dict[str, Any]:
    """What an own service is made of; nothing of a data service that was refused."""
    host = slots.extension(service, ctx)
    if not host.sources and not service.is_data:
        message = "nothing says what it is made of where there is no container"
        advice = "name the directories of its code: x-moorage.host.sources: {app: app}"
        ctx.wrong(service.name, "x-moorage.host", message, advice)
    what = {"requirements": host.requirements, "sources": dict(host.sources)}
    return {"environment": {name: value for name, value in what.items() if value}}


def _shared(
    ctx: Context, builds: dict[str, BuildFact], service: PlacedService, build: BuildFact
) -> BuildFact:
    """The build of a service, which others that are made of the same have, too."""
    same = (fact for fact in builds.values() if fact.build == build.build)
    key = service.name
    named = replace(build, key=key, image=f"{PREFIX}{ctx.stack.name}-{key}")
    fact = next(same, named)
    builds.setdefault(fact.key, fact)
    return fact


def _forms(
    ctx: Context, service: PlacedService, entry: dict[str, Any], targets: tuple[int, ...]
) -> list[Form]:
    moves = slots.movable(service, ctx)
    fixed = tuple(port for port in targets if port not in slots.asked(service, ctx))
    return [
        Form(
            entry=ordered(entry),
            unit=replace(unit, rolled=unit.rolled and moves),
            # As Compose takes a name, and no other service's can be.
            key=f"{service.name}.{unit.replica}" if unit.replica > 1 else service.name,
            targets=targets,
            tied=tied(ctx, service),
            fixed=fixed,
        )
        for unit in unit_facts(ctx, service, entry["image"])
    ]


def _running(ctx: Context, found: Mapping[str, Process], slotted: Slotted) -> dict[str, Process]:
    """Every key's process, with the ports of its slot."""
    names: dict[str, list[str]] = {}
    units: dict[str, tuple[Unit, str, str]] = {}
    for unit in slotted.units:
        for slot, key in unit.keys.items():
            name = unit_name(ctx, unit.service) or process_unit(ctx, unit, slot)
            units[key] = (unit, slot, name)
            names.setdefault(unit.service, []).append(name)
    running = {}
    for key, (unit, slot, name) in units.items():
        service = ctx.services[unit.service]
        known = slots.values(service, ctx, unit.peers[slot])
        after = [other for need in unit.needs for other in names.get(need, ())]
        running[key] = in_slot(found[unit.service], name, known, after)
    return running


def _check(ctx: Context, service: PlacedService, user: User, data: Data | None) -> None:
    slots.check(service, ctx)
    slots.check_privileged(service, ctx)
    if user[0] == 0:
        message = "root of a container is root of the host here"
        ctx.wrong(service.name, "user", message, 'name another one: user: "uid:gid"', service.user)
    elif user[0] == USER_ID:
        message = f"is {USER}, who asks for everybody's processes"
        ctx.wrong(service.name, "user", message, 'name another one: user: "uid:gid"', service.user)
    elif user[1] in POWERFUL:
        message = f"its group is {POWERFUL[user[1]]} of the host here"
        advice = f'name another one: user: "{user[0]}:{user[0]}"'
        ctx.wrong(service.name, "user", message, advice, service.user)
    if service.stop_signal and signal_name(service.stop_signal) not in Signals.__members__:
        # Supervisor would read none of its files any more, whosever they are.
        message, advice = "is no signal of a process here", "name another one: SIGTERM"
        ctx.wrong(service.name, "stop_signal", message, advice, service.stop_signal)
    kind, _ = restart_kind(service)
    if kind in ("always", "unless-stopped") and service.waited_for:
        message = "others wait until it has ended, and it would be started again"
        ctx.wrong(service.name, "restart", message, "write restart: on-failure", kind)
    if service.replicas > 1:
        refuse(ctx, service, "processes", _against_several(ctx, service, data))


def _against_several(ctx: Context, service: PlacedService, data: Data | None) -> list[Reason]:
    reasons = []
    if data is not None:
        reasons.append(("they would share its data", "leave it at 1"))
    elif listening(service) and (service.direct_ports or not slots.movable(service, ctx)):
        advice = "leave its ports to the edge, and let it listen on ${MOORAGE_PORT_…}"
        reasons.append(("they would share a port", advice))
    if service.moorage.singleton:
        reasons.append(ONCE)
    return reasons


def _fact(ctx: Context, service: PlacedService) -> manifest.Service:
    names = tuple(f"{ctx.stack.name}-{name}" for name in replica_names(service))
    return service_fact(ctx, service, "container", names)


def _json(value: Any) -> RenderedFile:
    return RenderedFile(json.dumps(value, indent=2, ensure_ascii=False) + "\n", PRIVATE)


TOPOLOGY = Topology(name="host", render=_render, columns=COLUMNS, kept=slots.KEPT, engine=False)
