"""The gateway of a stack, and how a container reaches it: its socket, never the engine's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moorage.release.manifest import Directory
from moorage.release.names import GATEWAY, GATEWAY_UNIT, LIBRARY
from moorage.render.context import Context
from moorage.render.gateway_unit import gateway_unit, socket_directory
from moorage.render.mounts import User, bind
from moorage.render.rendering import RenderedFile
from moorage.render.service import PlacedService

VARIABLE = "MOORAGE_CONTROL_SOCKET"
CONTROL_DIR = "/run/moorage-control"
CONTROL_URL = f"unix+http://{CONTROL_DIR}/control.sock"


def gateway_directory(ctx: Context) -> str:
    """The host's directory that holds the gateway's socket."""
    return f"{ctx.settings.run_dir}/{GATEWAY}"


def gateway(
    ctx: Context, group: int = 0, watcher: str = ""
) -> tuple[dict[str, RenderedFile], Directory]:
    """The gateway's files, and the directory of its socket, which this group may use.

    Every stack with containers has one, whether or not a service asks for it: it alone hears and
    remembers what happens to them. With the socket of a `watcher` it asks that one.
    """
    run_dir, stack = ctx.settings.run_dir, ctx.stack.name
    files = {
        GATEWAY_UNIT: gateway_unit(
            stack, run_dir=run_dir, library=LIBRARY, group=group, watcher=watcher
        ),
    }
    return files, socket_directory(run_dir, group)


def mount(ctx: Context) -> dict[str, Any]:
    """The gateway's directory in a container.

    The directory and not the socket, so that a gateway that was started anew is found again.
    Nothing can be made in it from inside; connecting to a socket is no writing.
    """
    return bind(gateway_directory(ctx), CONTROL_DIR, read_only=True)


def asks(service: PlacedService) -> bool:
    """Whether a service wants to control the stack."""
    return bool(service.variables.get(VARIABLE))


def control_group(
    ctx: Context, controlling: Sequence[str], users: Mapping[str, User | None]
) -> int:
    """The group that may connect to the gateway: that of the services which ask for it."""
    groups = {name: user[1] if (user := users[name]) else 0 for name in controlling}
    first = next(iter(groups.values()), 0)
    for name, group in groups.items():
        if group != first:
            message = "services that use the control socket have to share a group"
            ctx.wrong(name, "user", message, f"let it run in the group {first}", str(group))
    return first


def connect(ctx: Context, name: str, container: dict[str, Any]) -> bool:
    """Give a container the gateway's socket, where its environment asks for one."""
    if not container.get("environment", {}).get(VARIABLE):
        return False
    mounts = container.setdefault("volumes", [])
    if any(other["target"].rstrip("/") == CONTROL_DIR for other in mounts):
        message = f"{CONTROL_DIR} is where the control socket is mounted"
        ctx.wrong(name, "volumes", message, "mount it at another target", CONTROL_DIR)
    mounts.append(mount(ctx))
    container["environment"][VARIABLE] = CONTROL_URL
    return True
