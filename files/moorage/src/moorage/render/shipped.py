"""Mounts of the stack's own directory: what it holds is shipped, what it does not hold is data."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath
from zlib import crc32

from moorage.compose.errors import Problem
from moorage.compose.model import Service, Stack
from moorage.compose.parts import Mount
from moorage.compose.resources import Volume
from moorage.release.digest import digest
from moorage.release.names import SHIPPED, SHIPPED_BASE64, SHIPPED_DIRECTORY
from moorage.render.context import Context
from moorage.render.rendering import PRIVATE, RenderedFile

# Long enough that no two contents share one.
_DIGITS = 20


def with_data(stack: Stack) -> tuple[Stack, list[str], list[Problem]]:
    """A stack whose mounts of what its directory does not hold are named volumes; what to know."""
    notes: list[str] = []
    problems: list[Problem] = []
    names = _names(stack)
    services = {}
    for key, service in stack.services.items():
        mounts = list(service.volumes)
        for index, mount in enumerate(mounts):
            if mount.type != "bind" or (name := names.get(mount.source or "")) is None:
                continue
            where, path = f"services.{key}.volumes[{index}]", _told(stack, mount)
            above = next(
                (o for o in names if f"{mount.source}/".startswith(f"{o}/") and o != mount.source),
                "",
            )
            if above:
                message = f"{path} lies in ./{stack.relative(above)}, which is mounted too"
                problems.append(
                    Problem(where, message, "mount one of them, or lay them side by side")
                )
            mounts[index] = Mount("volume", mount.target, name, mount.read_only)
            notes.append(
                f"{where}: the stack's directory holds no {path}, so it is data: "
                f"a directory of the host that is empty at first, data/{name}{_odd(mount)}"
            )
        services[key] = replace(service, volumes=tuple(mounts))
    volumes = {name: Volume(name, f"{stack.name}_{name}") for name in names.values()}
    return replace(stack, services=services, volumes={**stack.volumes, **volumes}), notes, problems


def _told(stack: Stack, mount: Mount) -> str:
    return f"./{stack.relative(mount.source or '')}"


def _odd(mount: Mount) -> str:
    """What to say of a directory that is called like a file, as one that somebody forgot."""
    suffix = PurePosixPath(mount.source or "").suffix
    like_a_file = suffix and suffix == PurePosixPath(mount.target).suffix and suffix != ".d"
    return ". If it is meant to be a file, put it beside compose.yml" if like_a_file else ""


def _names(stack: Stack) -> dict[str, str]:
    """The volumes that stand for what is not there, by source: the same on every machine."""
    found: dict[str, str] = {}
    sources = {
        mount.source
        for service in stack.services.values()
        for mount in service.volumes
        if mount.type == "bind" and mount.source and mount.source not in stack.shipped
    }
    for source in sorted(sources):
        path = stack.relative(source)
        if path is None:
            continue
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", path).strip(".-") or "data"
        if name in stack.volumes or name in found.values():
            name = f"{name}-{crc32(path.encode()):08x}"
        found[source] = name
    return found


def shipped_mount(ctx: Context, service: Service, key: str, mount: Mount) -> str:
    """Return where a host has what a mount of the stack's directory ships."""
    if not mount.read_only:
        ctx.notes.append(
            f"services.{service.name}.{key}: {_told(ctx.stack, mount)} is shipped with the release "
            f"and mounted read-only; what the service writes belongs into a volume"
        )
    source = mount.source or ""
    files = ctx.stack.shipped[source]
    place = f"{ctx.settings.base_dir}/{SHIPPED_DIRECTORY}/{digest(files, _DIGITS)}"
    return f"{place}/{PurePosixPath(source).name}" if "" in files else place


def shipped_files(ctx: Context) -> dict[str, RenderedFile]:
    """What the release brings of the stack's directory: each tree at a path of its content."""
    found = {}
    used = {
        mount.source or ""
        for service in ctx.services.values()
        for mount in service.volumes
        if mount.type == "bind"
    }
    for source in sorted(used & ctx.stack.shipped.keys()):
        files = ctx.stack.shipped[source]
        place = digest(files, _DIGITS)
        for inner, file in files.items():
            name = inner or PurePosixPath(source).name
            kind = SHIPPED_BASE64 if file["base64"] else SHIPPED
            # Root's alone in the release; the directory that they go to is, too.
            mode = "0700" if file["executable"] else PRIVATE
            target = f"{ctx.settings.base_dir}/{SHIPPED_DIRECTORY}/{place}/{name}"
            found[f"{kind}{place}/{name}"] = RenderedFile(file["content"], mode, target)
    return found
