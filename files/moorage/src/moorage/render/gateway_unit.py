"""The systemd unit that runs a stack's gateway, and the directory that holds its socket."""

from __future__ import annotations

from moorage.release.manifest import Directory
from moorage.render.rendering import RenderedFile
from moorage.render.templates import installed_file

USER = "moorage-gateway"
# In step with `host_users` of the role host.
USER_ID = 10003


def gateway_rotation(stack: str, days: int) -> RenderedFile:
    """What keeps the gateway's audit log for some days."""
    return installed_file(
        "etc/logrotate.d/moorage-gateway-STACK", stack=stack, user=USER, days=days
    )


def unit_name(stack: str) -> str:
    """The name of a stack's gateway unit."""
    return f"moorage-gateway-{stack}.service"


def gateway_unit(
    stack: str, *, run_dir: str, library: str, group: int, watcher: str = ""
) -> RenderedFile:
    """The unit; `library` is where the host has Moorage's Python packages.

    With the socket of a `watcher` that one is asked, and else the engine.
    """
    return installed_file(
        "etc/systemd/system/moorage-gateway-STACK.service",
        stack=stack,
        user=USER,
        run_dir=run_dir,
        library=library,
        group=group,
        watcher=watcher,
    )


def socket_directory(run_dir: str, group: int) -> Directory:
    """The directory of the gateway's socket, which this group may connect to.

    Set-group-id: the socket gets the group without the gateway's being a member of it.
    """
    return Directory(f"{run_dir}/gateway", USER_ID, group, "2750")
