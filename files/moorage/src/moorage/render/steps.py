"""The steps of a rollout that a description adds: hooks, migrations, and how long things take."""

from __future__ import annotations

from dataclasses import fields

from moorage.compose.extension import HOOK_MOMENTS, Hook
from moorage.release import manifest
from moorage.render.context import Context


def rollout_facts(ctx: Context) -> manifest.Rollout:
    """Times of a rollout, in seconds."""
    times = {entry.name: getattr(ctx.settings, entry.name) for entry in fields(manifest.Rollout)}
    return manifest.Rollout(**times)


def hook_facts(ctx: Context) -> manifest.Hooks:
    """The hooks, complete; one that nothing could execute is reported."""
    found: dict[str, tuple[manifest.Hook, ...]] = {}
    for moment in HOOK_MOMENTS:
        hooks: tuple[Hook, ...] = getattr(ctx.stack.moorage.hooks, moment)
        for index, hook in enumerate(hooks):
            _check_hook(ctx, hook, f"x-moorage.hooks.{moment}[{index}].service")
        usual = ctx.settings.hook_timeout_seconds
        found[moment] = tuple(
            manifest.Hook(h.name, h.service, h.command, h.save_as, h.timeout_seconds or usual)
            for h in hooks
        )
    return manifest.Hooks(**found)


def _check_hook(ctx: Context, hook: Hook, where: str) -> None:
    service = ctx.services.get(hook.service)
    waits = service is None or service.on_demand
    if service is None or waits or service.waited_for:
        message = "is not running when the hook is due"
        why = "a service on demand" if waits else "a service that others wait for to end"
        advice = f"name a service that goes on running: this is {why}"
        ctx.wrong("", where, message, advice, hook.service)


def migration_facts(ctx: Context) -> manifest.Migrations | None:
    """The migrations; a service that does not come and go with the stack is reported."""
    migrations = ctx.stack.moorage.migrations
    if migrations is None:
        return None
    service = ctx.services.get(migrations.service)
    if service is None or service.is_data or not service.waited_for:
        message = "is no service that migrates"
        advice = (
            "name one with build: that others wait for with "
            "condition: service_completed_successfully"
        )
        ctx.wrong("", "x-moorage.migrations.service", message, advice, migrations.service)
    return manifest.Migrations(migrations.service, migrations.plan)
