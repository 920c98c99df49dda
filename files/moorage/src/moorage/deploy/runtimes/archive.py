"""All images that a stack runs on in one file, for a host that reaches no registry.

The file is what `docker save` writes, with one more member that says what names stand for.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

from moorage.common.engine import DockerError, Engine
from moorage.deploy.release import ReleaseError, current_release
from moorage.deploy.runtimes.docker import run
from moorage.images.names import digest_of
from moorage.release.layout import Layout
from moorage.release.native import is_environment

_INDEX = "moorage.json"
_FORMAT = 1
_INDEX_BYTES = 16 << 20
# What other images start from, without which a host would make it anew, and the edge.
_BASE = "moorage/base:trixie"
_EDGE = "moorage-edge"
_SECONDS = 6 * 3600.0


def save(layout: Layout, file: Path) -> list[str]:
    """Write the images of the running release to a file, and return their names.

    Raises ReleaseError, DockerError and OSError; the file appears complete or not at all.
    """
    release = current_release(layout)
    if release is None:
        raise ReleaseError(f"nothing of {layout.stack} runs here yet: deploy it, then save it")
    if environments := [ref for ref in release.images if is_environment(ref)]:
        raise ReleaseError(
            f"{layout.stack} runs without containers, from {', '.join(environments)}: an archive "
            "has images alone. A deploy builds environments from wheels in /opt/moorage/wheels"
        )
    engine = Engine()
    edge = (engine.container(_EDGE) or {}).get("Config", {}).get("Image", "")
    beside = [ref for ref in (_BASE, edge) if ref and engine.image(ref) is not None]
    names = list(dict.fromkeys([*release.images, *beside]))
    if not release.images:
        raise ReleaseError(f"release {release.id} of {layout.stack} names no image")
    pulled = release.manifest.pulled
    index = {
        "format": _FORMAT,
        "stack": layout.stack,
        "release": release.id,
        "images": [{"name": n, "ref": pulled[n].ref if n in pulled else ""} for n in names],
    }
    part = file.with_name(f".{file.name}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except FileExistsError:
        raise ReleaseError(f"{part} is there: another save is under way, or remove it") from None
    try:
        run(["image", "save", "--output", str(part), *names], timeout_seconds=_SECONDS)
        data = json.dumps(index, indent=2).encode()
        with tarfile.open(part, "a") as archive:
            info = tarfile.TarInfo(_INDEX)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return names


def load(file: Path) -> list[str]:
    """Give this host the images of a file that `save` wrote; return what they are called.

    A name that a Compose file uses stands for the loaded image afterwards, so that a deploy finds
    it. Raises ReleaseError and DockerError.
    """
    index = _read(file)
    run(["image", "load", "--input", str(file)], timeout_seconds=_SECONDS)
    held = Engine().images()
    loaded = []
    for entry in index["images"]:
        name, ref = str(entry["name"]), str(entry.get("ref") or "")
        if name not in held:
            raise DockerError(
                f"{file} names {name}, and the engine has not found that in it: the file is "
                "damaged. Save it anew"
            )
        loaded.append(name)
        # A digest is found by our own name, which says it.
        if ref and not digest_of(ref):
            run(["image", "tag", held[name], ref])
            loaded.append(ref)
    return loaded


def _read(file: Path) -> dict[str, Any]:
    try:
        with tarfile.open(file) as archive:
            member = archive.getmember(_INDEX)
            source = archive.extractfile(member) if member.size <= _INDEX_BYTES else None
            found: dict[str, Any] = dict(json.loads(source.read())) if source else {}
        if found["format"] != _FORMAT:
            raise ReleaseError(f"{file} is of another version of Moorage: save it by this one")
        if not all(isinstance(entry["name"], str) for entry in found["images"]):
            raise ValueError
    except OSError as trouble:
        raise ReleaseError(f"{file} cannot be read: {trouble.strerror or trouble}") from None
    except (tarfile.TarError, LookupError, TypeError, ValueError, RecursionError):
        raise ReleaseError(
            f"{file} is no archive that `moorage images save` wrote, or it was cut short: save it "
            "anew, and compare sizes after copying"
        ) from None
    return found
