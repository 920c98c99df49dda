"""What stands against several of a service, said where the number was asked for."""

from __future__ import annotations

from collections.abc import Iterable

from moorage.render.context import Context, set_keys
from moorage.render.service import PlacedService

# Why there can be only one, and what to do about it.
Reason = tuple[str, str]

ONCE: Reason = ("it must run once", "let it run once: x-moorage.singleton says so")


def refuse(ctx: Context, service: PlacedService, what: str, reasons: Iterable[Reason]) -> None:
    """Report the reasons against so many of a service; `what` are they: processes, containers."""
    found = [*(_of_setting(service) if service.scaled is not None else ()), *reasons]
    if not found:
        return
    why = ", ".join(reason for reason, _ in found)
    message = f"{service.replicas} {what} of it cannot run: {why}"
    advice = found[0][1]
    if service.scaled is None:
        key = "scale" if "scale" in set_keys(service) else "deploy.replicas"
        ctx.wrong(service.name, key, message, advice)
    else:
        ctx.wrong("", f"settings.replicas.{service.name}", message, advice)


def _of_setting(service: PlacedService) -> list[Reason]:
    """What its author may want several of all the same, and an operator may not ask for."""
    found = []
    if service.stays:
        advice = "leave it at 1; what serves more of it is in its own configuration"
        found.append(("it runs a ready image, and several would share its data", advice))
    if service.waited_for:
        found.append(("others wait until it has ended", "leave it at 1"))
    if service.on_demand:
        found.append(("it is started by hand", "enable its profile, or leave it at 1"))
    if "container_name" in service.options:
        found.append(("container_name names one of them", "remove container_name"))
    return found
