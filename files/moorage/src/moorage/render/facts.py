"""The facts that go with the files: what a deploy has to know without reading them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from moorage.compose.parts import Build
from moorage.release import manifest
from moorage.release.names import SERVICE_LABEL
from moorage.render.backup import backup_fact
from moorage.render.context import Context
from moorage.render.mounts import User, place_facts, secret_facts, volume_facts
from moorage.render.ports import listening, port_facts
from moorage.render.rendering import (
    BuildFact,
    RenderedFile,
    Rendering,
)
from moorage.render.service import PlacedService
from moorage.render.slots import Slotted
from moorage.render.steps import hook_facts, migration_facts, rollout_facts
from moorage.render.traffic import Traffic, edge_facts, probe_facts


def rendered(
    ctx: Context,
    files: dict[str, RenderedFile],
    users: dict[str, User | None],
    *,
    directories: tuple[manifest.Directory, ...],
    builds: tuple[BuildFact, ...],
    services: tuple[manifest.Service, ...],
    slotted: Slotted,
    visitors: Traffic,
    images: tuple[str | None, ...] | None = None,
    packages: tuple[str, ...] = (),
    manager: str = "",
    stand_ins: Mapping[str, str] = MappingProxyType({}),
) -> Rendering:
    """The rendering, of what the topology has made and what follows from the description.

    `images` are those of data services, unless a topology needs others of them.
    """
    plain = [service.image for service in ctx.services.values() if service.is_data]
    plain = plain if images is None else [*images]
    # Processes have no images that a volume could be a copy of.
    entries = () if manager else slotted.services.values()
    refs = {entry["labels"][SERVICE_LABEL]: str(entry["image"]) for entry in entries}
    volumes, seeds = volume_facts(ctx, users, refs)
    return Rendering(
        topology=ctx.settings.topology,
        files=files,
        volumes=volumes,
        seeds=seeds,
        places=place_facts(ctx),
        secrets=secret_facts(ctx, users),
        directories=directories,
        builds=builds,
        images=tuple(dict.fromkeys(image for image in plain if image)),
        packages=packages,
        manager=manager,
        stand_ins=dict(stand_ins),
        ports=port_facts(ctx),
        services=services,
        units=slotted.units,
        edge=edge_facts(ctx, visitors),
        probe=probe_facts(ctx, visitors),
        rollout=rollout_facts(ctx),
        hooks=hook_facts(ctx),
        migrations=migration_facts(ctx),
        loopback=slotted.loopback,
        notes=tuple(dict.fromkeys(ctx.notes)),
        unresolved=tuple(dict.fromkeys(ctx.unresolved)),
    )


def service_fact(
    ctx: Context,
    service: PlacedService,
    kind: Literal["process", "container"],
    containers: tuple[str, ...],
) -> manifest.Service:
    """How a service runs; `containers` names its containers."""
    return manifest.Service(
        name=service.name,
        kind=kind,
        singleton=service.moorage.singleton,
        ports=tuple(port for port, _ in listening(service)),
        health=bool(service.healthcheck and service.healthcheck.active),
        one_off=service.one_off,
        on_demand=service.on_demand,
        replicas=service.replicas,
        containers=containers,
        backup=backup_fact(ctx, service),
    )


def portable_build(ctx: Context, build: Build) -> dict[str, Any]:
    """A build whose paths start at the stack's directory, so that they hold on any machine."""
    data = build.to_dict()

    def relative(path: str) -> str:
        return os.path.relpath(path, ctx.stack.directory) if path.startswith("/") else path

    data["context"] = relative(data.get("context", ctx.stack.directory))
    contexts = data.get("additional_contexts", {})
    if contexts:
        data["additional_contexts"] = {name: relative(path) for name, path in contexts.items()}
    return data
