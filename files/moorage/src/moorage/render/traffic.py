"""The way of a visitor: pools of addresses behind the edge, its listeners and routes, the probe."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass

from moorage.compose.errors import did_you_mean
from moorage.compose.parts import Port
from moorage.release import manifest
from moorage.render.context import Context
from moorage.render.health import health_path, health_url
from moorage.render.ports import listening
from moorage.render.service import PlacedService
from moorage.settings.stack import Route, Target


@dataclass(frozen=True)
class Traffic:
    """What of a stack lies behind the edge.

    `targets`: by service the container ports that visitors are led to; `listeners` are whole
    public ports, `routes` paths of the stack's domains.
    """

    targets: dict[str, tuple[int, ...]]
    listeners: tuple[tuple[str, Port], ...]
    routes: tuple[tuple[str, str, int], ...]


def traffic(ctx: Context) -> Traffic:
    """Work out what lies behind the edge; what cannot be routed is reported."""
    listeners = tuple(
        (service.name, port)
        for service in ctx.services.values()
        for port in service.edge_ports
        if (port.published or "").isdigit()
    )
    routes = _routes(ctx)
    pairs = [*((name, port.target) for name, port in listeners), *((s, p) for _, s, p in routes)]
    targets: dict[str, tuple[int, ...]] = {}
    for name, port in dict.fromkeys(pairs):
        targets[name] = (*targets.get(name, ()), port)
    return Traffic(targets, listeners, routes)


def refuse_ready(ctx: Context, service: PlacedService) -> None:
    """Report a ready image that is to be led to where there is no second one beside it."""
    if service.is_data and service.moorage.edge:
        message = "in this topology there is no second one of a ready image beside it"
        ctx.wrong(service.name, "x-moorage.edge", message, "remove it, or choose another topology")


def pool_name(service: str, port: int) -> str:
    """The stack's own name of a pool."""
    return f"{service}:{port}"


def _routes(ctx: Context) -> tuple[tuple[str, str, int], ...]:
    """Path, service and port of every route; none while no domain asks for them."""
    settings = ctx.settings
    given = ctx.stack.moorage.routes if settings.routes is None else settings.routes
    where = "x-moorage.routes" if settings.routes is None else "settings.routes"
    if not settings.domains:
        return ()
    if not settings.behind_edge:
        message, advice = "need the edge, and this host has none", "set edge_kind, or remove them"
        ctx.wrong("", "settings.domains", message, advice, list(settings.domains))
        return ()
    if not given:
        advice = "set routes: [{path: /, service: NAME}]"
        ctx.wrong("", "settings.domains", "nothing says which service answers there", advice)
    found: dict[str, tuple[str, str, int]] = {}
    for index, route in enumerate(given):
        port = _route_port(ctx, route, f"{where}[{index}]")
        # /api and /api/ answer the same requests.
        place = route.path.rstrip("/")
        if place in found:
            ctx.wrong("", f"{where}[{index}].path", "has a route already", "keep one", route.path)
        elif port is not None:
            found[place] = (route.path, route.service, port)
    return tuple(found.values())


def _route_port(ctx: Context, route: Route, where: str) -> int | None:
    service = ctx.services.get(route.service)
    if service is None:
        advice = did_you_mean(route.service, ctx.services)
        ctx.wrong("", f"{where}.service", "is no service here", advice, route.service)
        return None
    if not service.behind_edge:
        message = "is not behind the edge"
        advice = "route to a service with build, or with x-moorage: {edge: true}, that goes on"
        ctx.wrong("", f"{where}.service", message, advice, route.service)
        return None
    return _one_port(ctx, service, route.port, where)


def _one_port(ctx: Context, service: PlacedService, port: int | None, where: str) -> int | None:
    """The port that is meant: the one named, or the only one that it can be."""
    if port is not None:
        return port
    published = {port.target for port in service.edge_ports}
    inside = {port for port, protocol in listening(service) if protocol == "tcp"}
    choice = sorted(published or inside)
    if len(choice) == 1:
        return choice[0]
    message = f"{service.name} listens on {', '.join(map(str, choice)) or 'no port'}"
    ctx.wrong("", f"{where}.port", message, "say which port of the container: port: NUMBER")
    return None


def edge_facts(ctx: Context, found: Traffic) -> manifest.Edge | None:
    """What the edge has to know of the stack; None when nothing of it lies behind the edge."""
    if not found.targets:
        return None
    options = asdict(ctx.settings.edge)
    for name in set(options["services"]) - set(found.targets):
        advice = did_you_mean(name, found.targets)
        ctx.wrong("", "settings.edge.services", "is no service behind the edge", advice, name)
    return manifest.Edge(
        pools={
            pool_name(service, port): manifest.Pool(
                service, port, health_path(ctx.services[service], port)
            )
            for service, ports in found.targets.items()
            for port in ports
        },
        listeners=tuple(
            manifest.Listener(
                int(port.published or 0), port.host_ip or "", pool_name(service, port.target)
            )
            for service, port in found.listeners
        ),
        domains=ctx.settings.domains,
        routes=tuple(
            manifest.Route(path, pool_name(service, port)) for path, service, port in found.routes
        ),
        options=options,
    )


def probe_facts(ctx: Context, found: Traffic) -> manifest.Probe:
    """How a rollout of the stack is watched."""
    options, given = asdict(ctx.settings.probe), ctx.settings.probe.targets
    pairs = {(service, port) for service, ports in found.targets.items() for port in ports}
    targets = _targets(ctx, found) if given is None else _given(ctx, given, pairs)
    return manifest.Probe(**{**options, "targets": tuple(targets)})


def _targets(ctx: Context, found: Traffic) -> list[manifest.Target]:
    targets = []
    for name, ports in found.targets.items():
        service = ctx.services[name]
        own = service.moorage.probe_paths
        health = health_url(service)
        for port in ports:
            paths = ["/"]
            if health is not None and health.port == port:
                paths.insert(0, health.path)
            paths = list(dict.fromkeys(paths)) if own is None else list(own)
            targets += [manifest.Target(name, port, path) for path in paths]
    return targets


def _given(
    ctx: Context, given: tuple[Target, ...], pairs: Collection[tuple[str, int]]
) -> list[manifest.Target]:
    targets = []
    for index, target in enumerate(given):
        where = f"settings.probe.targets[{index}]"
        ports = sorted(p for name, p in pairs if name == target.service)
        port = ports[0] if target.port is None and len(ports) == 1 else target.port
        if port is not None and (target.service, port) in pairs:
            targets.append(manifest.Target(target.service, port, target.path, target.expect))
            continue
        behind = ", ".join(pool_name(*pair) for pair in sorted(pairs)) or "nothing"
        named = target.service if target.port is None else pool_name(target.service, target.port)
        advice = f"name one of what is: {behind}"
        ctx.wrong("", where, "is not one port behind the edge", advice, named)
    return targets
