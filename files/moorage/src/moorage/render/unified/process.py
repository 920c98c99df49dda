"""A service as a process of the unified container: its entry in supervisor.json."""

from __future__ import annotations

from typing import Any

from moorage.render.context import Context
from moorage.render.gateway import CONTROL_URL, VARIABLE, asks
from moorage.render.health import health_check
from moorage.render.mounts import User
from moorage.render.ports import listening
from moorage.render.replicas import ONCE, Reason, refuse
from moorage.render.restart import supervised_restart
from moorage.render.service import PlacedService, replica_names
from moorage.render.unified.keys import PROCESS
from moorage.render.units import DEFAULT_GRACE

WORKING_DIR = "/app"
RUN_DIR = "/run/supervisor"
# The supervisor, and who has the data services beside its container.
_BOTH_URL = f"unix+supervisor://{RUN_DIR}/control.sock,{CONTROL_URL}"
_CONDITIONS = {
    "service_started": "started",
    "service_healthy": "healthy",
    "service_completed_successfully": "completed",
}


def processes(
    ctx: Context, service: PlacedService, user: User, log_dir: str
) -> list[dict[str, Any]]:
    """The entries of a service in supervisor.json."""
    ctx.judge(service, PROCESS)
    _check(ctx, service, user)
    return [_process(ctx, service, name, log_dir) for name in replica_names(service)]


def _check(ctx: Context, service: PlacedService, user: User) -> None:
    if not service.command and not service.entrypoint:
        advice = "write the command out: the image's own is not known here"
        ctx.wrong(service.name, "command", "is missing", advice)
    own = service.moorage.user or service.user
    if own is not None and own != f"{user[0]}:{user[1]}":
        message = f"all processes run as {user[0]}:{user[1]}, the unified container's user"
        advice = "give it that user, or give x-moorage.unified.user this one"
        ctx.wrong(service.name, "user", message, advice, own)
    if service.replicas != 1:
        refuse(ctx, service, "processes", _against_several(service))


def _against_several(service: PlacedService) -> list[Reason]:
    reasons = []
    if listening(service):
        advice = "let it have more workers of its own, or choose another topology"
        reasons.append(("it listens on a port, which they would share", advice))
    if service.moorage.singleton:
        reasons.append(ONCE)
    if service.replicas == 0:
        reasons.append(("a process has to run", "remove the service, or stop it by hand"))
    return reasons


def _environment(ctx: Context, service: PlacedService) -> dict[str, str]:
    found = dict(sorted(service.variables.items()))
    if found.get(VARIABLE) and beside(ctx):
        found[VARIABLE] = _BOTH_URL
    return found


def beside(ctx: Context) -> bool:
    """Whether a process wants to control data services beside the container too."""
    services = ctx.services.values()
    wants = any(asks(service) for service in services if not service.is_data)
    return wants and any(service.is_data for service in services)


def _process(ctx: Context, service: PlacedService, name: str, log_dir: str) -> dict[str, Any]:
    settings = ctx.settings
    grace = service.stop_grace_period
    entry: dict[str, Any] = {
        "name": name,
        "command": [*(service.entrypoint or ()), *(service.command or ())],
        "working_dir": service.working_dir or WORKING_DIR,
        "environment": _environment(ctx, service),
        "autostart": not service.on_demand,
        **supervised_restart(service),
        "stop_signal": (service.stop_signal or "TERM").removeprefix("SIG"),
        "stop_grace": DEFAULT_GRACE if grace is None else grace,
        "stdout_logfile": f"{log_dir}/{name}.log",
        "stderr_logfile": f"{log_dir}/{name}.err.log",
        "log_max_bytes": settings.process_log_max_bytes,
        "log_backups": settings.process_log_backups,
    }
    depends = _dependencies(ctx, service)
    if depends:
        entry["depends_on"] = depends
    check = health_check(service)
    if check is not None:
        entry["health_check"] = check
    ports = sorted({port for port, _ in listening(service)})
    if ports:
        entry["ports"] = ports
    if service.labels:
        entry["labels"] = dict(sorted(service.labels.items()))
    return entry


def _dependencies(ctx: Context, service: PlacedService) -> dict[str, str]:
    found = {}
    for name, dependency in service.depends_on.items():
        other = ctx.services.get(name)
        if other is None or other.is_data:
            continue  # a data service is waited for by the whole container
        if dependency.restart:
            ctx.note(service.name, f"depends_on.{name}.restart", "processes restart one by one")
        healthy = dependency.condition == "service_healthy"
        if healthy and not (other.healthcheck and other.healthcheck.active):
            message = f"waits for {name} to be healthy, which has no health check"
            advice = f"add a healthcheck to {name}, or wait for service_started"
            ctx.wrong(service.name, f"depends_on.{name}", message, advice)
            continue
        for instance in replica_names(other):
            found[instance] = _CONDITIONS[dependency.condition]
    return found
