"""A service as a container of its own: final Compose for the host, nothing left to resolve."""

from __future__ import annotations

from typing import Any

from moorage.compose.extension import EXTENSION
from moorage.compose.parts import Port
from moorage.release.names import OWN_LABELS, SERVICE_LABEL, STACK_LABEL
from moorage.render.context import Context
from moorage.render.key_table import Column
from moorage.render.mounts import User, config_labels, service_mounts
from moorage.render.restart import container_restart
from moorage.render.service import PlacedService
from moorage.settings.stack import Limits, Settings

# What the keys of a service come in, so that files read alike and differ only where they do.
_ORDER = (
    "image", "pull_policy", "container_name", "hostname", "user", "group_add", "read_only", "init",
    "cap_drop", "cap_add", "security_opt", "entrypoint", "command", "working_dir", "environment",
    "healthcheck", "restart", "stop_signal", "stop_grace_period", "ports",
    "networks", "network_mode", "dns", "extra_hosts", "volumes", "tmpfs", "deploy", "ulimits",
    "logging", "labels",
)  # fmt: skip
_REPLACED = (
    "secrets", "configs", "profiles", "container_name", "build", "depends_on", EXTENSION,
    "mem_limit", "cpus", "pids_limit", "scale", "gpus", "post_start", "pre_stop",
)  # fmt: skip


def ordered(service: dict[str, Any]) -> dict[str, Any]:
    """A service's keys in the order in which people look for them."""
    first = {key: service[key] for key in _ORDER if key in service}
    return {**first, **{key: service[key] for key in sorted(service) if key not in first}}


def logging(settings: Settings, service: PlacedService | None = None) -> dict[str, Any]:
    """Bounded logs: the description's own, with limits where it names none."""
    limits = {"max-size": settings.log_max_size, "max-file": str(settings.log_max_files)}
    own: dict[str, Any] = service.options.get("logging", {}) if service else {}
    driver = own.get("driver", "json-file")
    if driver not in ("json-file", "local"):
        return own
    return {"driver": driver, "options": {**limits, **own.get("options", {})}}


def labels(ctx: Context, name: str) -> dict[str, str]:
    """The labels by which Moorage knows its containers."""
    return {STACK_LABEL: ctx.stack.name, SERVICE_LABEL: name}


def published(ports: tuple[Port, ...]) -> list[dict[str, Any]]:
    """Ports in the long form."""
    return [
        {
            "target": port.target,
            "published": port.published,
            **({"host_ip": port.host_ip} if port.host_ip else {}),
            "protocol": port.protocol,
        }
        for port in ports
        if port.published
    ]


def resources(limits: Limits) -> dict[str, Any]:
    """Limits of a container as Compose writes them."""
    found: dict[str, Any] = {}
    if limits.cpus is not None:
        found["cpus"] = f"{limits.cpus:g}"
    if limits.memory is not None:
        found["memory"] = str(limits.memory)
    if limits.pids is not None:
        found["pids"] = limits.pids
    return {"resources": {"limits": found}} if found else {}


def container(
    ctx: Context, service: PlacedService, user: User | None, column: Column, image: str
) -> dict[str, Any]:
    """A service as it goes into the release's compose.yaml, but for what its slot decides.

    `column` is the one of the table that it is judged by, `image` the final reference. What it
    waits for is not in it: a rollout keeps that order itself.
    """
    ctx.judge(service, column)
    data = {key: value for key, value in service.to_dict().items() if key not in _REPLACED}
    name = service.moorage.user or service.user
    data |= {
        "image": image,
        "user": name if name or user is None else f"{user[0]}:{user[1]}",
        "environment": service.variables,
        "restart": container_restart(ctx, service),
        "ports": published(service.direct_ports),
        "volumes": service_mounts(ctx, service, user),
        "logging": logging(ctx.settings, service),
        "labels": {
            **own_labels(service), **config_labels(ctx, service), **labels(ctx, service.name)
        },
        "deploy": _deploy(ctx, service),
    }  # fmt: skip
    for key in ("memswap_limit", "mem_reservation", "mem_swappiness", "shm_size"):
        if data.get(key) == "-1":
            # As a number alone Compose takes it.
            data[key] = -1
    if ctx.settings.dns and "dns" not in data:
        data["dns"] = list(ctx.settings.dns)
    kept = ("command", "entrypoint")
    return ordered(
        {k: v for k, v in data.items() if v not in (None, {}, []) or (v == [] and k in kept)}
    )


def own_labels(service: PlacedService) -> dict[str, str]:
    """Labels of the description; those that begin with `moorage.` are Moorage's to give."""
    return {k: v for k, v in service.labels.items() if not k.startswith(OWN_LABELS)}


def _deploy(ctx: Context, service: PlacedService) -> dict[str, Any]:
    """What Compose itself reads of `deploy`; the rest is in the units, for the rollout."""
    own = service.reservations
    if "cpus" in own:
        ctx.note(
            service.name,
            "deploy.resources.reservations.cpus",
            "the engine keeps processors for nobody; limit the others instead",
        )
    gpus = [
        {**entry, "capabilities": sorted({"gpu", *entry.get("capabilities", ())})}
        for entry in service.options.get("gpus", ())
    ]
    if gpus:
        own = {**own, "devices": [*own.get("devices", ()), *gpus]}
        if "mem_reservation" in service.options:
            # Beside other reservations Compose wants it said there too.
            own.setdefault("memory", service.options["mem_reservation"])
    limits = resources(service.limits).get("resources", {})
    merged = {**limits, **({"reservations": own} if own else {})}
    return {"resources": merged} if merged else {}
