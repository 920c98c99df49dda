"""The unified topology: own services as processes of one container, data services beside it."""

from __future__ import annotations

import json
import os
from typing import Any

from moorage.compose.errors import ComposeError
from moorage.compose.model import Service, Stack
from moorage.compose.parts import Build
from moorage.render.container import container
from moorage.render.context import UNIFIED, Context, numeric_user
from moorage.render.mounts import User, config_files, secret_facts, volume_facts
from moorage.render.process import instances, listening, processes
from moorage.render.rendering import (
    BuildFact,
    DirectoryFact,
    PortFact,
    RenderedFile,
    Rendering,
    ServiceFact,
)
from moorage.render.settings import Settings
from moorage.render.unified_container import RUN_DIR, unified_container
from moorage.render.yamlout import dump_yaml, escaped

_HEADER = (
    "Rendered by Moorage from compose.yml of the stack {name}, topology unified.\n"
    "Changes made here are lost at the next deploy: change compose.yml or group_vars instead."
)


def render_unified(stack: Stack, settings: Settings) -> Rendering:
    """Render a stack for the unified topology; see `Renderer`."""
    ctx = Context(stack, settings)
    own = [service for service in stack.services.values() if not service.is_data]
    data = [service for service in stack.services.values() if service.is_data]
    user = _user(ctx)
    users: dict[str, User | None] = {
        **{service.name: user for service in own},
        **{service.name: numeric_user(service.moorage.user or service.user) for service in data},
    }
    ctx.check_names(set(stack.services))
    builds = _builds(ctx, own)
    files = {
        "compose.yaml": RenderedFile(_compose(ctx, own, data, users, user)),
        **({"supervisor.json": _supervisor(ctx, own, user)} if own else {}),
        **config_files(ctx),
    }
    _check_ports(ctx, own)
    ports = _ports(ctx)
    rendering = Rendering(
        topology=UNIFIED,
        files=files,
        volumes=volume_facts(ctx, users),
        secrets=secret_facts(ctx, users),
        directories=_directories(ctx, user) if own else (),
        builds=builds,
        images=tuple(dict.fromkeys(service.image for service in data if service.image)),
        ports=ports,
        services=tuple(_facts(ctx, service) for service in stack.services.values()),
        notes=tuple(dict.fromkeys(ctx.notes)),
        unresolved=tuple(dict.fromkeys(ctx.unresolved)),
    )
    if ctx.problems:
        raise ComposeError(ctx.problems)
    return rendering


def _user(ctx: Context) -> User:
    unified = ctx.stack.moorage.unified
    text = (unified.user if unified else None) or ctx.settings.user
    return numeric_user(text) or (0, 0)


def _dirs(ctx: Context) -> tuple[str, str]:
    unified = ctx.stack.moorage.unified
    return (unified.data_dir, unified.log_dir) if unified else ("/app/data", "/app/logs")


def _builds(ctx: Context, own: list[Service]) -> tuple[BuildFact, ...]:
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
    return (BuildFact(UNIFIED, image, _relative(ctx, unified.build)),)


def _relative(ctx: Context, build: Build) -> dict[str, Any]:
    """A build whose paths start at the stack's directory, so that they hold on any machine."""
    data = build.to_dict()

    def relative(path: str) -> str:
        return os.path.relpath(path, ctx.stack.directory) if path.startswith("/") else path

    data["context"] = relative(data.get("context", ctx.stack.directory))
    contexts = data.get("additional_contexts", {})
    if contexts:
        data["additional_contexts"] = {name: relative(path) for name, path in contexts.items()}
    return data


def _compose(
    ctx: Context,
    own: list[Service],
    data: list[Service],
    users: dict[str, User | None],
    user: User,
) -> str:
    services: dict[str, Any] = {}
    if own:
        if UNIFIED in ctx.stack.services:
            message = "is the name of the unified container itself"
            ctx.wrong(UNIFIED, "name", message, "give the service another name")
        services[UNIFIED] = unified_container(ctx, own, user, *_dirs(ctx))
    for service in data:
        services[service.name] = container(ctx, service, users[service.name])
    networks = {key: network.to_dict() for key, network in ctx.stack.networks.items()}
    used = {key for service in services.values() for key in service.get("networks", {})}
    document = {
        "name": ctx.stack.name,
        "services": services,
        "networks": {key: value for key, value in sorted(networks.items()) if key in used},
    }
    filled = {key: value for key, value in document.items() if value}
    return dump_yaml(escaped(filled), _HEADER.format(name=ctx.stack.name))


def _supervisor(ctx: Context, own: list[Service], user: User) -> RenderedFile:
    data_dir, log_dir = _dirs(ctx)
    config = {
        "version": 1,
        "supervisor": {
            "socket": f"{RUN_DIR}/control.sock",
            "socket_mode": "0660",
            "run_dir": RUN_DIR,
            "state_dir": f"{data_dir}/supervisor",
            "log_file": f"{log_dir}/supervisor.log",
            "pids_file": f"{data_dir}/pids.env",
        },
        "processes": [entry for service in own for entry in processes(ctx, service, user, log_dir)],
    }
    content = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    target = f"{ctx.settings.base_dir}/config/{UNIFIED}/supervisor.json"
    return RenderedFile(content, "0644", target)


def _check_ports(ctx: Context, own: list[Service]) -> None:
    """Two processes cannot listen on one port: they share the container's network."""
    taken: dict[tuple[int, str], str] = {}
    for service in own:
        for port, protocol in listening(service):
            holder = taken.setdefault((port, protocol), service.name)
            if holder != service.name:
                message = f"{holder} listens on {port}/{protocol} in the same container"
                advice = "let one of them listen on another port"
                ctx.wrong(service.name, "ports", message, advice, port)


def _ports(ctx: Context) -> tuple[PortFact, ...]:
    facts = []
    taken: dict[tuple[str, str], str] = {}
    for service in ctx.stack.services.values():
        for port in ctx.ports(service):
            if not (port.published or "").isdigit():
                message = "a range of host ports leaves open where the service is reached"
                ctx.wrong(service.name, "ports", message, "publish one port", port.published)
                continue
            key = (port.published or "", port.protocol)
            holder = taken.setdefault(key, service.name)
            if holder != service.name:
                message = f"{holder} publishes {key[0]}/{key[1]} already"
                ctx.wrong(service.name, "ports", message, "publish another host port", key[0])
            facts.append(
                PortFact(service.name, port.host_ip or "", int(key[0]), port.target, port.protocol)
            )
    return tuple(facts)


def _directories(ctx: Context, user: User) -> tuple[DirectoryFact, ...]:
    base, run = ctx.settings.base_dir, ctx.settings.run_dir
    return (
        DirectoryFact(f"{base}/config/{UNIFIED}", 0, 0, "0755"),
        DirectoryFact(f"{base}/data/{UNIFIED}", *user, "0750"),
        DirectoryFact(f"{base}/logs", *user, "0755"),
        DirectoryFact(f"{run}/{UNIFIED}", *user, "0750"),
    )


def _facts(ctx: Context, service: Service) -> ServiceFact:
    waited_for = any(
        other.depends_on[service.name].condition == "service_completed_successfully"
        for other in ctx.stack.services.values()
        if service.name in other.depends_on
    )
    place = service.name if service.is_data else UNIFIED
    return ServiceFact(
        name=service.name,
        kind="container" if service.is_data else "process",
        container=f"{ctx.stack.name}-{place}",
        singleton=service.moorage.singleton,
        ports=tuple(port for port, _ in listening(service)),
        health=bool(service.healthcheck and service.healthcheck.active),
        one_off=waited_for and len(instances(service)) == 1,
    )
