"""A service as a process of the unified container: its entry in supervisor.json."""

from __future__ import annotations

from typing import Any

from moorage.compose.parts import Healthcheck
from moorage.compose.units import parse_duration
from moorage.render.context import Context
from moorage.render.gateway import CONTROL_URL, VARIABLE, asks
from moorage.render.health import http_url
from moorage.render.mounts import User
from moorage.render.ports import listening
from moorage.render.replicas import ONCE, Reason, refuse
from moorage.render.restart import deploy_policy, restart_kind
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
# The engine's defaults, which a description that names no times was written for.
_INTERVAL, _TIMEOUT, _RETRIES, _START_PERIOD, _START_INTERVAL = 30.0, 30.0, 3, 0.0, 5.0
# Between restarts, in seconds: the first comes at once, then pauses grow as the engine's do. A
# history without a limit is kept for an hour, one that is counted for ever, as the engine does.
_LONGEST_PAUSE, _PAUSES_GROW, _COUNTED = 60.0, 3600.0, 9e8


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
        "autostart": True,
        **_restart(service),
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
    check = _health(service)
    if check is not None:
        entry["health_check"] = check
    ports = sorted({port for port, _ in listening(service)})
    if ports:
        entry["ports"] = ports
    if service.labels:
        entry["labels"] = dict(sorted(service.labels.items()))
    return entry


def _restart(service: PlacedService) -> dict[str, Any]:
    policy = deploy_policy(service)
    kind, limit = restart_kind(service)
    names = {"no": "never", "on-failure": "on-failure"}
    # Without a limit of its own a service is tried for as long as it is wanted, as the engine does:
    # FATAL would be an end that the description does not know. The engine counts without a window.
    result: dict[str, Any] = {
        "autorestart": names.get(kind, "always"),
        "restart_limit": limit or None,
        "restart_window": _COUNTED if limit else _PAUSES_GROW,
        "restart_delay_max": _LONGEST_PAUSE,
    }
    if service.moorage.restart_limit is not None:
        del result["restart_window"]  # the supervisor's own goes with that limit
    for key, target in (("delay", "restart_delay"), ("window", "restart_window")):
        if key in policy:
            result[target] = parse_duration(policy[key])
    for key in ("restart_limit", "restart_window", "restart_delay", "restart_delay_max"):
        value = getattr(service.moorage, key)
        if value is not None:
            result[key] = value
    return result


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


def _health(service: PlacedService) -> dict[str, Any] | None:
    check = service.healthcheck
    if check is None or not check.active or check.test is None:
        return None
    given = check
    url = service.moorage.health_url or http_url(check.test)
    test = {"type": "http", "url": url} if url else {"type": "command", "command": _argv(check)}
    return {
        **test,
        "interval": _or(given.interval, _INTERVAL),
        "timeout": _or(given.timeout, _TIMEOUT),
        "retries": given.retries or _RETRIES,
        "start_period": _START_PERIOD if given.start_period is None else given.start_period,
        "start_interval": _or(given.start_interval, _START_INTERVAL),
        "restart_when_unhealthy": service.moorage.unhealthy == "restart",
    }


def _or(value: float | None, default: float) -> float:
    return value or default  # the engine takes 0 for its default


def _argv(check: Healthcheck) -> list[str]:
    kind, *words = check.test or ("CMD",)
    return ["/bin/sh", "-c", words[0]] if kind == "CMD-SHELL" else words
