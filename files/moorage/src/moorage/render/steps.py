"""The steps of a rollout that a description adds: hooks, migrations, and how long things take."""

from __future__ import annotations

from typing import Any

from moorage.compose.extension import HOOK_MOMENTS, Hook
from moorage.render.context import Context


def rollout_facts(ctx: Context) -> dict[str, Any]:
    """Times of a rollout, in seconds."""
    settings = ctx.settings
    return {
        "drain_seconds": settings.drain_seconds,
        "monitor_seconds": settings.monitor_seconds,
        "hook_timeout_seconds": settings.hook_timeout_seconds,
    }


def hook_facts(ctx: Context) -> dict[str, list[dict[str, Any]]]:
    """The hooks, complete; one that nothing could execute is reported."""
    found: dict[str, list[dict[str, Any]]] = {}
    for moment in HOOK_MOMENTS:
        hooks: tuple[Hook, ...] = getattr(ctx.stack.moorage.hooks, moment)
        for index, hook in enumerate(hooks):
            _check_hook(ctx, hook, f"x-moorage.hooks.{moment}[{index}].service")
        found[moment] = [
            {
                "name": hook.name,
                "service": hook.service,
                "command": list(hook.command),
                "save_as": hook.save_as,
                "timeout_seconds": hook.timeout_seconds or ctx.settings.hook_timeout_seconds,
            }
            for hook in hooks
        ]
    return found


def _check_hook(ctx: Context, hook: Hook, where: str) -> None:
    service = ctx.stack.services.get(hook.service)
    waits = service is None or service.name in ctx.stack.on_demand
    if service is None or waits or ctx.waited_for(service):
        message = "is not running when the hook is due"
        why = "a service on demand" if waits else "a service that others wait for to end"
        advice = f"name a service that goes on running: this is {why}"
        ctx.wrong("", where, message, advice, hook.service)


def migration_facts(ctx: Context) -> dict[str, Any] | None:
    """The migrations; a service that does not come and go with the stack is reported."""
    migrations = ctx.stack.moorage.migrations
    if migrations is None:
        return None
    service = ctx.stack.services.get(migrations.service)
    if service is None or service.is_data or not ctx.waited_for(service):
        message = "is no service that migrates"
        advice = (
            "name one with build: that others wait for with "
            "condition: service_completed_successfully"
        )
        ctx.wrong("", "x-moorage.migrations.service", message, advice, migrations.service)
    return migrations.to_dict()
