"""The watcher of a stack: its unit, and the directory of what it has found."""

from __future__ import annotations

from moorage.release.manifest import Directory
from moorage.release.names import LIBRARY, WATCH
from moorage.render.context import Context
from moorage.render.gateway_unit import USER, USER_ID
from moorage.render.rendering import RenderedFile
from moorage.render.templates import installed_file


def watch(ctx: Context) -> tuple[dict[str, RenderedFile], Directory]:
    """The watcher's unit, and its directory, where the gateway may ask it and nobody else."""
    settings = ctx.settings
    unit = installed_file(
        "etc/systemd/system/moorage-watch-STACK.service",
        stack=ctx.stack.name,
        base_dir=settings.base_dir,
        run_dir=settings.run_dir,
        library=LIBRARY,
        group=USER,
    )
    return {"watch.service": unit}, Directory(f"{settings.run_dir}/{WATCH}", 0, USER_ID, "2750")
