"""Restart policies: `restart` and `deploy.restart_policy` in one form."""

from __future__ import annotations

from typing import Any

from moorage.compose.model import Service
from moorage.compose.units import parse_duration
from moorage.render.context import Context

_CONDITIONS = {"none": "no", "any": "always"}
# Between restarts, in seconds: the first comes at once, then pauses grow as the engine's do, and
# begin anew after a good run. Where they are limited they are counted for ever, as the engine does.
_LONGEST_PAUSE, _GOOD_RUN, _COUNTED = 60.0, 10.0, 9e8


def deploy_policy(service: Service) -> dict[str, Any]:
    """`deploy.restart_policy` of a service, empty when it has none."""
    policy: dict[str, Any] = (service.options.get("deploy") or {}).get("restart_policy", {})
    return policy


def restart_kind(service: Service) -> tuple[str, int | None]:
    """The word (no, on-failure, always, unless-stopped) and the attempts, where limited.

    A condition of `deploy.restart_policy` goes before `restart`, as in Docker Compose.
    """
    policy = deploy_policy(service)
    condition = policy.get("condition")
    word = _CONDITIONS.get(condition, condition) if condition else service.restart
    kind, _, times = (word or "no").partition(":")
    return kind, int(times) if times else policy.get("max_attempts")


def container_restart(ctx: Context, service: Service) -> str | None:
    """`restart` of a container; what the engine cannot do is refused or noted."""
    policy = deploy_policy(service)
    key = "deploy.restart_policy"
    for part in ("delay", "window"):
        if part in policy:
            ctx.note(service.name, f"{key}.{part}", "the engine waits as it does, 0.1 s and more")
    kind, times = restart_kind(service)
    if times and kind != "on-failure":
        advice = "write condition: on-failure, or remove max_attempts"
        message = "the engine counts attempts only after failures"
        ctx.wrong(service.name, f"{key}.max_attempts", message, advice, times)
    if kind == "no" and service.restart is None and not policy:
        return None
    return f"{kind}:{times}" if times else kind


def supervised_restart(service: Service) -> dict[str, Any]:
    """`restart` as our supervisor has it: keys of a process in supervisor.json."""
    policy = deploy_policy(service)
    kind, limit = restart_kind(service)
    names = {"no": "never", "on-failure": "on-failure"}
    # Without a limit of its own a service is tried for as long as it is wanted, as the engine does:
    # FATAL would be an end that the description does not know.
    result: dict[str, Any] = {
        "autorestart": names.get(kind, "always"),
        "restart_limit": limit or None,
        "restart_reset_seconds": _COUNTED if limit else _GOOD_RUN,
        "restart_delay_max": _LONGEST_PAUSE,
    }
    if service.moorage.restart_limit is not None:
        del result["restart_reset_seconds"]  # the supervisor's own goes with that limit
    for key, target in (("delay", "restart_delay"), ("window", "restart_reset_seconds")):
        if key in policy:
            result[target] = parse_duration(policy[key])
    own = service.moorage
    given = {
        "restart_limit": own.restart_limit,
        "restart_reset_seconds": own.restart_window,
        "restart_delay": own.restart_delay,
        "restart_delay_max": own.restart_delay_max,
    }
    result.update((key, value) for key, value in given.items() if value is not None)
    return result
