"""The unified topology: own services as processes of one container, data services beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal

from moorage.compose.load import started_only
from moorage.compose.model import Service, Stack
from moorage.render.container import container
from moorage.render.context import UNIFIED, Context, own_user, service_user
from moorage.render.document import compose_file
from moorage.render.facts import listening, portable_build, rendered, service_fact
from moorage.render.mounts import User, config_files
from moorage.render.process import processes
from moorage.render.rendering import BuildFact, DirectoryFact, RenderedFile, Rendering, ServiceFact
from moorage.render.settings import Settings
from moorage.render.unified_container import RUN_DIR, unified_container


def render_unified(stack: Stack, settings: Settings) -> Rendering:
    """Render a stack for the unified topology; see `Renderer`."""
    stack = started_only(stack)
    ctx = Context(stack, replace(settings, topology=UNIFIED))
    own = [service for service in stack.services.values() if not service.is_data]
    data = [service for service in stack.services.values() if service.is_data]
    user = own_user(ctx)
    users: dict[str, User | None] = {
        **{service.name: user for service in own},
        **{service.name: service_user(service) for service in data},
    }
    ctx.check_names(set(stack.services))
    builds = _builds(ctx, own)
    files = {
        "compose.yaml": RenderedFile(_compose(ctx, own, data, users, user)),
        **({"supervisor.json": _supervisor(ctx, own, user)} if own else {}),
        **config_files(ctx),
    }
    _check_ports(ctx, own)
    return rendered(
        ctx,
        files,
        users,
        directories=_directories(ctx, user) if own else (),
        builds=builds,
        services=tuple(_facts(ctx, service) for service in stack.services.values()),
    )


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
    return (BuildFact(UNIFIED, image, portable_build(ctx, unified.build)),)


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
    containers = {service.name for service in data}
    for service in data:
        image = ctx.image(service.image or "", service.image or "")
        services[service.name] = container(
            ctx, service, users[service.name], "container", image, containers
        )
    return compose_file(ctx, services)


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


def _directories(ctx: Context, user: User) -> tuple[DirectoryFact, ...]:
    base, run = ctx.settings.base_dir, ctx.settings.run_dir
    return (
        DirectoryFact(f"{base}/config/{UNIFIED}", 0, 0, "0755"),
        DirectoryFact(f"{base}/data/{UNIFIED}", *user, "0750"),
        DirectoryFact(f"{base}/logs", *user, "0755"),
        DirectoryFact(f"{run}/{UNIFIED}", *user, "0750"),
    )


def _facts(ctx: Context, service: Service) -> ServiceFact:
    place = service.name if service.is_data else UNIFIED
    kind: Literal["process", "container"] = "container" if service.is_data else "process"
    return service_fact(ctx, service, kind, (f"{ctx.stack.name}-{place}",))
