"""The unified container: what its processes ask of a container, made one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moorage.release.layout import Layout
from moorage.release.manifest import Unit
from moorage.release.names import SUPERVISOR, UNIFIED, in_slot
from moorage.render.container import labels, logging, ordered, published, resources
from moorage.render.context import Context
from moorage.render.gateway import mount as mount_gateway
from moorage.render.mounts import User, bind, config_labels, service_mounts
from moorage.render.service import PlacedService, replica_names
from moorage.render.slots import Form, slots_of
from moorage.render.unified.process import RUN_DIR, beside
from moorage.render.units import DEFAULT_GRACE, rolling
from moorage.settings.stack import Limits

CONFIG_DIR, STATE_DIR = "/etc/process_supervisor", "/var/lib/supervisor"
_OF_SLOT = (CONFIG_DIR, RUN_DIR, STATE_DIR)
# What the supervisor and its init take besides their processes.
_OWN_MEMORY, _OWN_PIDS = 32 * 1024**2, 16
_STOP_MARGIN = 5.0
_AGREED = (
    "read_only", "cap_drop", "security_opt", "dns", "dns_opt", "dns_search", "group_add",
    "oom_score_adj", "platform", "shm_size", "sysctls", "ulimits",
)  # fmt: skip
_DEFAULTS: dict[str, Any] = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
# The strictest of several conditions for the same container comes last.
_CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")


def unified_form(
    ctx: Context,
    services: Sequence[PlacedService],
    user: User,
    dirs: tuple[str, str],
    targets: tuple[int, ...],
) -> Form:
    """The unified container; `dirs` are its data and log directories inside."""
    entry = _entry(ctx, services, user, dirs)
    alone = [s.name for s in services if s.direct_ports or s.fixed_address]
    rolls = not alone
    if ctx.settings.behind_edge and alone:
        ctx.notes.append(
            "the unified container is replaced in place at an update, with a gap: "
            f"{', '.join(alone)} has a port of the host or an address of its own"
        )
    unit = Unit(
        name=f"{ctx.stack.name}-{UNIFIED}",
        service=UNIFIED,
        rolled=rolls,
        keys={},
        config="",
        image=entry["image"],
        health=True,
        singletons=tuple(s.name for s in services if s.moorage.singleton),
        processes=tuple(name for service in services for name in replica_names(service)),
        needs=_needs(ctx, services),
        secrets=tuple(dict.fromkeys(g.source for s in services for g in s.secrets)),
        stop_seconds=longest_stop(services) + _STOP_MARGIN,
        update=rolling(None),
        rollback=rolling(None, "rollback_config"),
        slot_install={
            slot: {SUPERVISOR: f"{slot_directories(ctx, slot)[CONFIG_DIR]}/{SUPERVISOR}"}
            for slot in slots_of(rolls)
        },
    )
    mounts = {slot: _slot_mounts(ctx, slot) for slot in slots_of(rolls)}
    return Form(entry=entry, unit=unit, key=UNIFIED, targets=targets, mounts=mounts)


def slot_directories(ctx: Context, slot: str) -> dict[str, str]:
    """Directories of the host that a slot of the unified container has for itself, by target."""
    name, base, run = ctx.stack.name, Path(ctx.settings.base_dir), Path(ctx.settings.run_dir)
    layout, own = Layout(name, base, run), in_slot(UNIFIED, slot)
    return {
        CONFIG_DIR: str(layout.config / own),
        RUN_DIR: str(layout.runtime(own)),
        STATE_DIR: str(layout.state(slot)),
    }


def _slot_mounts(ctx: Context, slot: str) -> list[dict[str, Any]]:
    return [
        bind(source, target, read_only=target == CONFIG_DIR)
        for target, source in slot_directories(ctx, slot).items()
    ]


def _entry(
    ctx: Context, services: Sequence[PlacedService], user: User, dirs: tuple[str, str]
) -> dict[str, Any]:
    base = ctx.settings.base_dir
    own = [bind(f"{base}/data/{UNIFIED}", dirs[0]), bind(f"{base}/logs", dirs[1])]
    grace = longest_stop(services) + _STOP_MARGIN
    data: dict[str, Any] = {
        "image": ctx.image(UNIFIED, f"moorage/{ctx.stack.name}-{UNIFIED}"),
        "pull_policy": "never",
        "user": f"{user[0]}:{user[1]}",
        **_agreed(ctx, services),
        "healthcheck": {
            "test": ["CMD", "python3", "-m", "process_supervisor", "health"],
            "interval": "15s",
            "timeout": "5s",
            "retries": 3,
            "start_period": f"{_start_period(services):g}s",
            "start_interval": "1s",
        },
        "restart": "unless-stopped",
        "stop_grace_period": f"{grace:g}s",
        "ports": published(tuple(port for s in services for port in s.direct_ports)),
        "networks": _networks(ctx, services),
        "extra_hosts": _hosts(ctx, services),
        "volumes": _mounts(ctx, services, user, own),
        "tmpfs": _tmpfs(ctx, services),
        "deploy": resources(_limits(ctx, services)),
        "logging": logging(ctx.settings),
        "labels": {**_config_labels(ctx, services), **labels(ctx, UNIFIED)},
    }
    if ctx.settings.dns and "dns" not in data:
        data["dns"] = list(ctx.settings.dns)
    return ordered({key: value for key, value in data.items() if value not in (None, {}, [])})


def longest_stop(services: Sequence[PlacedService]) -> float:
    """Seconds until the last process has stopped: they stop in order, dependents first."""
    by_name = {service.name: service for service in services}
    known: dict[str, float] = {}

    def chain(name: str) -> float:
        if name not in known:
            service = by_name[name]
            known[name] = 0.0  # a cycle was refused when the file was read
            grace = service.stop_grace_period
            below = [chain(other) for other in service.depends_on if other in by_name]
            known[name] = (DEFAULT_GRACE if grace is None else grace) + max(below, default=0.0)
        return known[name]

    return max((chain(name) for name in by_name), default=0.0)


def _start_period(services: Sequence[PlacedService]) -> float:
    checks = [service.healthcheck for service in services if service.healthcheck]
    return 15.0 + sum(check.start_period or 0.0 for check in checks)


def _agreed(ctx: Context, services: Sequence[PlacedService]) -> dict[str, Any]:
    """Container-wide keys: what the services that name them agree on.

    `read_only` counts as named by all, because leaving it out means a writable file system.
    """
    found: dict[str, Any] = {}
    for key in _AGREED:
        default = False if key == "read_only" else None
        values: dict[str, Any] = {}
        for service in services:
            value = service.options.get(key, default)
            if value is not None:
                values[service.name] = sorted(value) if isinstance(value, list) else value
        first = next(iter(values.items()), None)
        if first is None:
            found[key] = _DEFAULTS.get(key)
            continue
        for name, value in values.items():
            if value != first[1]:
                message = f"differs from {first[0]}'s, and both share one container"
                ctx.wrong(name, key, message, "make them alike, or choose another topology", value)
        found[key] = first[1]
    return {key: value for key, value in found.items() if value not in (None, False)}


def _needs(ctx: Context, services: Sequence[PlacedService]) -> dict[str, str]:
    """The data services that the container waits for, with the strictest condition."""
    found: dict[str, str] = {}
    for service in services:
        for name, dependency in service.depends_on.items():
            other = ctx.services.get(name)
            if other is None or not other.is_data:
                continue
            if dependency.restart:
                ctx.note(service.name, f"depends_on.{name}.restart", "the container stays up")
            conditions = (found.get(name, _CONDITIONS[0]), dependency.condition)
            found[name] = max(conditions, key=_CONDITIONS.index)
    return found


def _networks(ctx: Context, services: Sequence[PlacedService]) -> dict[str, Any]:
    first = services[0]
    names = set(first.networks)
    merged: dict[str, dict[str, Any]] = {key: {} for key in first.networks}
    for service in services:
        if set(service.networks) != names:
            message = f"differ from {first.name}'s, and both share one container"
            ctx.wrong(service.name, "networks", message, "put them on the same networks",
                      sorted(service.networks))  # fmt: skip
            continue
        for key, options in service.networks.items():
            _merge_network(ctx, service, key, merged[key], options or {})
    for options in merged.values():
        # Data services find the processes by their names as well.
        aliases = [service.name for service in services]
        more = [name for name in options.get("aliases", []) if name not in aliases]
        options["aliases"] = [*aliases, *more]
    return merged


def _merge_network(
    ctx: Context, service: PlacedService, key: str, into: dict[str, Any], options: dict[str, Any]
) -> None:
    for name, value in options.items():
        if name in ("aliases", "link_local_ips"):
            into[name] = [*into.get(name, []), *value]
        elif into.setdefault(name, value) != value:
            message = f"two addresses or options for one container (also {into[name]})"
            where = f"networks.{key}.{name}"
            ctx.wrong(service.name, where, message, "keep one of them", value)


def _hosts(ctx: Context, services: Sequence[PlacedService]) -> list[str]:
    names = [service.name for service in services]
    hosts = [f"{name}=127.0.0.1" for name in names]
    for service in services:
        for entry in service.options.get("extra_hosts", []):
            if entry.partition("=")[0] in names:
                message = "is the name of a process of the same container"
                ctx.wrong(service.name, "extra_hosts", message, "remove it", entry)
            elif entry not in hosts:
                hosts.append(entry)
    return hosts


def _mounts(
    ctx: Context, services: Sequence[PlacedService], user: User, own: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    supervisors = [*_slot_mounts(ctx, ""), *own, *([mount_gateway(ctx)] if beside(ctx) else [])]
    taken: dict[str, tuple[str, dict[str, Any]]] = {
        mount["target"]: ("the supervisor", mount) for mount in supervisors
    }
    for service in services:
        for mount in service_mounts(ctx, service, user):
            holder, other = taken.setdefault(mount["target"], (service.name, mount))
            if other != mount:
                message = f"{mount['target']} is also mounted by {holder}, from elsewhere"
                advice = "mount it at another target, or alike"
                ctx.wrong(service.name, "volumes", message, advice, mount.get("source"))
    # Those of its slot come to it with the slot.
    return [mount for target, (_, mount) in taken.items() if target not in _OF_SLOT]


def _tmpfs(ctx: Context, services: Sequence[PlacedService]) -> list[str]:
    found: dict[str, str] = {}
    for service in services:
        for entry in service.options.get("tmpfs", []):
            target = entry.partition(":")[0]
            if found.setdefault(target, entry) != entry:
                message = f"{target} has other options elsewhere ({found[target]})"
                ctx.wrong(service.name, "tmpfs", message, "make them alike", entry)
    found.setdefault("/tmp", "/tmp:size=64m,mode=1777")  # noqa: S108 - the container's own
    return list(found.values())


def _limits(ctx: Context, services: Sequence[PlacedService]) -> Limits:
    """The operator's limits, else the sum of the processes' when each of them has one."""
    given = ctx.settings.limits.get(UNIFIED, Limits())
    for service in services:
        if service.reservations:
            why = "processes share what the unified container has"
            ctx.note(service.name, "deploy.resources.reservations", why)
    each = [(service.limits, service.replicas, service.name) for service in services]
    sums: dict[str, float | None] = {}
    for key, extra in (("memory", _OWN_MEMORY), ("cpus", 0), ("pids", _OWN_PIDS)):
        without = [name for limits, _, name in each if getattr(limits, key) is None]
        if not without:
            sums[key] = sum(getattr(limits, key) * times for limits, times, _ in each) + extra
            continue
        sums[key] = None
        if len(without) < len(each) and getattr(given, key) is None:
            lacking = ", ".join(without)
            ctx.notes.append(f"no {key} limit of the unified container: {lacking} names none")
    memory, cpus, pids = sums["memory"], sums["cpus"], sums["pids"]
    return Limits(
        given.memory or (None if memory is None else int(memory)),
        given.cpus or cpus,
        given.pids or (None if pids is None else int(pids)),
    )


def _config_labels(ctx: Context, services: Sequence[PlacedService]) -> dict[str, str]:
    return {
        key: value for service in services for key, value in config_labels(ctx, service).items()
    }
