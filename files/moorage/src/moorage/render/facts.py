"""The facts that go with the files: what a deploy has to know without reading them."""

from __future__ import annotations

import os
from typing import Any, Literal

from moorage.compose.errors import ComposeError
from moorage.compose.model import Service
from moorage.compose.parts import Build
from moorage.render.context import Context
from moorage.render.mounts import User, secret_facts, volume_facts
from moorage.render.rendering import (
    BuildFact,
    DirectoryFact,
    PortFact,
    RenderedFile,
    Rendering,
    ServiceFact,
)

_COMPLETED = "service_completed_successfully"
_ROLLOUT = ("update_config", "rollback_config")


def rendered(
    ctx: Context,
    files: dict[str, RenderedFile],
    users: dict[str, User | None],
    *,
    directories: tuple[DirectoryFact, ...],
    builds: tuple[BuildFact, ...],
    services: tuple[ServiceFact, ...],
) -> Rendering:
    """The rendering; ComposeError when anything was found that the topology cannot honour."""
    plain = [service.image for service in ctx.stack.services.values() if service.is_data]
    rendering = Rendering(
        topology=ctx.settings.topology,
        files=files,
        volumes=volume_facts(ctx, users),
        secrets=secret_facts(ctx, users),
        directories=directories,
        builds=builds,
        images=tuple(dict.fromkeys(image for image in plain if image)),
        ports=_ports(ctx),
        services=services,
        notes=tuple(dict.fromkeys(ctx.notes)),
        unresolved=tuple(dict.fromkeys(ctx.unresolved)),
    )
    if ctx.problems:
        raise ComposeError(ctx.problems)
    return rendering


def listening(service: Service) -> list[tuple[int, str]]:
    """Ports that a service listens on in its container, with their protocols."""
    found = [(port.target, port.protocol) for port in service.ports]
    for text in service.options.get("expose", []):
        span, _, protocol = text.partition("/")
        first, _, last = span.partition("-")
        found += [(n, protocol or "tcp") for n in range(int(first), int(last or first) + 1)]
    return list(dict.fromkeys(found))


def service_fact(
    ctx: Context,
    service: Service,
    kind: Literal["process", "container"],
    containers: tuple[str, ...],
) -> ServiceFact:
    """How a service runs; `containers` names its containers."""
    deploy = service.options.get("deploy") or {}
    return ServiceFact(
        name=service.name,
        kind=kind,
        container=next(iter(containers), f"{ctx.stack.name}-{service.name}"),
        singleton=service.moorage.singleton,
        ports=tuple(port for port, _ in listening(service)),
        health=bool(service.healthcheck and service.healthcheck.active),
        one_off=waited_for(ctx, service) and service.replicas == 1,
        on_demand=service.name in ctx.stack.on_demand,
        replicas=service.replicas,
        containers=containers,
        rollout={key: deploy[key] for key in _ROLLOUT if key in deploy},
    )


def waited_for(ctx: Context, service: Service) -> bool:
    """Whether others wait for the service to have ended well."""
    return any(
        other.depends_on[service.name].condition == _COMPLETED
        for other in ctx.stack.services.values()
        if service.name in other.depends_on and not ctx.only_on_demand(other, service)
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


def _ports(ctx: Context) -> tuple[PortFact, ...]:
    facts = []
    taken: dict[tuple[str, str], str] = {}
    for service in ctx.stack.services.values():
        waits = service.name in ctx.stack.on_demand
        _note_unpublished(ctx, service)
        for port in ctx.ports(service):
            if not (port.published or "").isdigit():
                message = "a range of host ports leaves open where the service is reached"
                ctx.wrong(service.name, "ports", message, "publish one port", port.published)
                continue
            key = (port.published or "", port.protocol)
            holder = taken.setdefault(key, service.name)
            # Two services on demand may be meant to take turns.
            if holder != service.name and not (waits and holder in ctx.stack.on_demand):
                message = f"{holder} publishes {key[0]}/{key[1]} already"
                ctx.wrong(service.name, "ports", message, "publish another host port", key[0])
            facts.append(
                PortFact(service.name, port.host_ip or "", int(key[0]), port.target, port.protocol)
            )
    return tuple(facts)


def _note_unpublished(ctx: Context, service: Service) -> None:
    inside = [str(port.target) for port in service.ports if not port.published]
    if inside and service.name not in ctx.settings.publish:
        why = f"without a host port, {', '.join(inside)} is reached inside the stack only"
        ctx.note(service.name, "ports", why)
