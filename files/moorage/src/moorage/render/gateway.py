"""The gateway of a stack, and how a container reaches it: its socket, never the engine's."""

from __future__ import annotations

from typing import Any

from moorage.release.manifest import Directory
from moorage.release.names import GATEWAY, GATEWAY_UNIT, LIBRARY
from moorage.render.context import Context
from moorage.render.gateway_unit import gateway_unit, socket_directory
from moorage.render.mounts import bind
from moorage.render.rendering import RenderedFile
from moorage.render.service import PlacedService

VARIABLE = "MOORAGE_CONTROL_SOCKET"
CONTROL_DIR = "/run/moorage-control"
CONTROL_URL = f"unix+http://{CONTROL_DIR}/control.sock"


def gateway_directory(ctx: Context) -> str:
    """The host's directory that holds the gateway's socket."""
    return f"{ctx.settings.run_dir}/{GATEWAY}"


def gateway(ctx: Context, group: int = 0) -> tuple[dict[str, RenderedFile], Directory]:
    """The gateway's files, and the directory of its socket, which this group may use.

    Every stack with containers has one, whether or not a service asks for it: it alone hears and
    remembers what happens to them.
    """
    run_dir, stack = ctx.settings.run_dir, ctx.stack.name
    files = {
        GATEWAY_UNIT: gateway_unit(stack, run_dir=run_dir, library=LIBRARY, group=group),
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
