"""Restart policies: `restart` and `deploy.restart_policy` in one form."""

from __future__ import annotations

from typing import Any

from moorage.compose.model import Service
from moorage.render.context import Context

_CONDITIONS = {"none": "no", "any": "always"}


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
