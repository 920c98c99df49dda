"""How a container reaches the control API: the gateway's socket, never the engine's."""

from __future__ import annotations

from typing import Any

from moorage.render.context import Context
from moorage.render.mounts import bind

VARIABLE = "MOORAGE_CONTROL_SOCKET"
CONTROL_DIR = "/run/moorage-control"
CONTROL_URL = f"unix+http://{CONTROL_DIR}/control.sock"
SLOT = "gateway"


def gateway_directory(ctx: Context) -> str:
    """The host's directory that holds the gateway's socket."""
    return f"{ctx.settings.run_dir}/{SLOT}"


def connect(ctx: Context, name: str, container: dict[str, Any]) -> bool:
    """Give a container the gateway's socket, where its environment asks for one.

    The directory is mounted and not the socket, so that a gateway that was started anew is found
    again. Nothing can be made in it from inside; connecting to a socket is no writing.
    """
    if not container.get("environment", {}).get(VARIABLE):
        return False
    mounts = container.setdefault("volumes", [])
    if any(mount["target"].rstrip("/") == CONTROL_DIR for mount in mounts):
        message = f"{CONTROL_DIR} is where the control socket is mounted"
        ctx.wrong(name, "volumes", message, "mount it at another target", CONTROL_DIR)
    mounts.append(bind(gateway_directory(ctx), CONTROL_DIR, read_only=True))
    container["environment"][VARIABLE] = CONTROL_URL
    return True
