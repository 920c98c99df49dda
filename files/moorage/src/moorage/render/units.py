"""What a rollout has to know of a service's containers: how they are replaced, and after whom."""

from __future__ import annotations

from moorage.compose.units import parse_duration
from moorage.release.manifest import Policy, Unit
from moorage.render.context import Context
from moorage.render.health import health_url
from moorage.render.service import PlacedService, only_on_demand, replica_names

# The engine's, for a service that names none.
DEFAULT_GRACE = 10.0
_NAMESPACES = ("network_mode", "ipc", "pid", "uts", "cgroup")
_SHARED_NETWORKS = ("host", "service", "container")


def rolling(service: PlacedService | None, key: str = "update_config") -> Policy:
    """`deploy.update_config` or `rollback_config`, whose default for a failure is another one."""
    own = {} if service is None else (service.options.get("deploy") or {}).get(key, {})
    monitor = own.get("monitor")
    usual = Policy(failure_action="rollback" if key == "update_config" else "pause")
    return Policy(
        parallelism=int(own.get("parallelism", usual.parallelism)),
        delay=parse_duration(own.get("delay", "0s")),
        order=own.get("order", usual.order),
        monitor=None if monitor is None else parse_duration(monitor),
        failure_action=own.get("failure_action", usual.failure_action),
        max_failure_ratio=float(own.get("max_failure_ratio", usual.max_failure_ratio)),
    )


def rolled(ctx: Context, service: PlacedService) -> bool:
    """Whether a new container of a service can run beside the old one for a while."""
    network = str(service.options.get("network_mode", "")).partition(":")[0]
    return not (
        service.stays
        or service.moorage.singleton
        or service.on_demand
        or service.waited_for
        or service.direct_ports
        or service.fixed_address
        or network in _SHARED_NETWORKS
        or service.name in shared(ctx)
    )


def shared(ctx: Context) -> set[str]:
    """Services that others are bound to by name: by links, `volumes_from` or a namespace."""
    found = set()
    for service in ctx.services.values():
        options = service.options
        found |= {link.partition(":")[0] for link in options.get("links", [])}
        found |= {source.partition(":")[0] for source in options.get("volumes_from", [])}
        for key in _NAMESPACES:
            kind, _, other = str(options.get(key, "")).partition(":")
            found |= {other} if kind == "service" else set()
    return found


def tied(ctx: Context, service: PlacedService) -> tuple[str, ...]:
    """Services with which a service is replaced: `depends_on` with restart, and shared volumes."""
    sources = {source.partition(":")[0] for source in service.options.get("volumes_from", [])}
    return tuple(
        name
        for name, dependency in service.depends_on.items()
        if name in ctx.services and (dependency.restart or name in sources)
    )


def needs(ctx: Context, service: PlacedService) -> dict[str, str]:
    """What a container waits for before it starts, with the condition."""
    found = {}
    for name, dependency in service.depends_on.items():
        other = ctx.services.get(name)
        if other is None or only_on_demand(ctx.stack, service.name, name):
            continue  # not required, and of a profile that is not enabled
        check = other.healthcheck
        if dependency.condition == "service_healthy" and check and not check.active:
            message = f"waits for {name} to be healthy, whose health check is off"
            advice = f"give {name} a test, or wait for service_started"
            ctx.wrong(service.name, f"depends_on.{name}", message, advice)
        found[name] = dependency.condition
    return found


def unit_facts(ctx: Context, service: PlacedService, image: str) -> tuple[Unit, ...]:
    """The units of a service, one a replica, as far as its slots do not decide them."""
    grace = service.stop_grace_period
    return tuple(
        Unit(
            name=f"{ctx.stack.name}-{name}",
            service=service.name,
            replica=number,
            rolled=rolled(ctx, service),
            keys={},
            config="",
            image=image,
            health=bool(service.healthcheck and service.healthcheck.active),
            health_url=health_url(service),
            singleton=service.moorage.singleton,
            one_off=service.one_off,
            on_demand=service.on_demand,
            data=service.stays,
            needs=needs(ctx, service),
            secrets=tuple(dict.fromkeys(grant.source for grant in service.secrets)),
            stop_seconds=DEFAULT_GRACE if grace is None else grace,
            update=rolling(service),
            rollback=rolling(service, "rollback_config"),
        )
        for number, name in enumerate(replica_names(service), 1)
    )
