"""Mounts of the stack's own directory: what it holds is shipped, what it does not hold is data."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any
from zlib import crc32

from moorage.compose.errors import Problem
from moorage.compose.model import Service, Stack
from moorage.compose.parts import Mount, Relative
from moorage.compose.resources import Volume
from moorage.release.digest import digest
from moorage.release.names import SHIPPED, SHIPPED_BASE64, SHIPPED_DIRECTORY
from moorage.render.context import Context
from moorage.render.rendering import PRIVATE, RenderedFile
from moorage.settings.readers import parse_bytes

# Long enough that no two contents share one.
_DIGITS = 20


def with_data(stack: Stack) -> tuple[Stack, list[str], list[Problem]]:
    """A stack whose mounts of what its directory does not hold are named volumes; what to know."""
    notes: list[str] = []
    problems: list[Problem] = []
    stack = _as_mounts(stack, notes)
    names = _names(stack)
    taken = {*stack.volumes, *names.values()}
    services = {}
    for key, service in stack.services.items():
        mounts = list(service.volumes)
        for index, mount in enumerate(mounts):
            where = f"services.{key}.volumes[{index}]"
            if mount.type == "volume" and mount.source is None:
                own = _nameless(key, mount, taken)
                taken.add(own)
                mounts[index] = replace(mount, source=own)
                notes.append(f"{where}: has no name, and is kept as data/{own}, over updates too")
            name = names.get(mount.source or "") if mount.type == "bind" else None
            if name is None:
                continue
            path = _told(stack, mount)
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
    volumes = {n: Volume(n, f"{stack.name}_{n}") for n in sorted(taken - stack.volumes.keys())}
    return replace(stack, services=services, volumes={**stack.volumes, **volumes}), notes, problems


def _nameless(service: str, mount: Mount, taken: Collection[str]) -> str:
    """What a volume without a name is called: the same in every release."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{service}{mount.target}").strip(".-")
    return f"{name}-{crc32(mount.target.encode()):08x}" if name in taken else name


def _as_mounts(stack: Stack, notes: list[str]) -> Stack:
    """A stack whose volumes that only lead elsewhere are mounts of that place."""
    elsewhere: dict[str, tuple[str, str | None, dict[str, Any]]] = {}
    kept = {}
    for key, volume in stack.volumes.items():
        options = volume.options.get("driver_opts", {})
        local = not volume.external and volume.options.get("driver", "local") == "local"
        flags = set(options.get("o", "").split(",")) - {""}
        if local and flags & {"bind", "rbind"} and options.get("device"):
            device = os.path.normpath(options["device"])
            # A device that was written from the file's directory is resolved by now.
            device = Relative(device) if ".." in options["device"].split("/") else device
            elsewhere[key] = ("bind", device, {"bind": {"create_host_path": False}})
            continue
        if local and options.get("type") == "tmpfs":
            size = next((f.removeprefix("size=") for f in flags if f.startswith("size=")), "")
            sized = {"size": str(parse_bytes(size))} if re.fullmatch(r"\d+[kmg]?", size) else {}
            elsewhere[key] = ("tmpfs", None, {"tmpfs": sized} if sized else {})
            continue
        if volume.external:
            notes.append(
                f"volumes.{key}: is external, and data/{key} is made for it, empty: what the "
                f"engine's volume {volume.name} holds, if there is one, has to be copied there"
            )
            volume = replace(volume, external=False)
        kept[key] = volume
    services = {}
    for name, service in stack.services.items():
        mounts = []
        for mount in service.volumes:
            if mount.type == "volume" and mount.source in elsewhere:
                kind, source, options = elsewhere[mount.source]
                mount = Mount(kind, mount.target, source, mount.read_only, options)
            mounts.append(mount)
        services[name] = replace(service, volumes=tuple(mounts))
    return replace(stack, services=services, volumes=kept)


def _told(stack: Stack, mount: Mount) -> str:
    path = stack.relative(mount.source or "")
    return "." if path == "." else f"./{path}"


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
