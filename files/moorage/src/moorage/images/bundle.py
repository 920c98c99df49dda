"""The archive that a controller ships: sources of images, and the program that builds them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from moorage.images import context as contexts
from moorage.images.spec import BuildSpec

RECIPE = "build.json"
LIBRARY = "lib"
# Times stand for contents: whoever compares times (a browser's cache by the validators made from
# them, Python with its compiled files) sees a change exactly when there is one. From 1980 on, as
# zip archives know nothing earlier.
_EARLIEST = 315_619_200
_SPAN = 1_200_000_000


def pack(specs: Sequence[BuildSpec], output: IO[bytes], options: dict[str, Any]) -> None:
    """Write a gzip-compressed archive of all that a host needs to build ``specs``.

    The same sources give the same bytes. `options` go to the host's program as they are: base_name,
    base_source, pip_index_url.
    """
    recipe = {**options, "images": [_recipe(spec) for spec in specs]}
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=output, compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        _add(archive, RECIPE, json.dumps(recipe, sort_keys=True).encode())
        _add_library(archive)
        done = set()
        for spec in specs:
            if spec.dockerfile is not None:
                _add(archive, _dockerfile(spec), spec.dockerfile.read_bytes())
                # The rules were applied while packing: without this file, or with an empty one,
                # the builder would read those of the context a second time.
                _add(archive, f"{_dockerfile(spec)}.dockerignore", b"# applied already\n")
            for entries in spec.trees.values():
                if (tree := _tree(entries)) not in done:
                    done.add(tree)
                    _add_tree(archive, tree, entries)


def _recipe(spec: BuildSpec) -> dict[str, Any]:
    trees = {name: _tree(entries) for name, entries in spec.trees.items()}
    return {
        "key": spec.key,
        "ref": spec.ref,
        "digest": spec.digest,
        "stack": spec.stack,
        "script": spec.script,
        "environment": spec.environment,
        "requirements": spec.requirements,
        "dockerfile": _dockerfile(spec),
        "target": spec.target,
        "args": dict(spec.args),
        "context": trees.pop("", None),
        "contexts": trees,
        "images": dict(spec.images),
        "remotes": dict(spec.remotes),
    }


def _dockerfile(spec: BuildSpec) -> str:
    return f"dockerfiles/{spec.digest[:12]}.Dockerfile"


def _tree(entries: Iterable[contexts.Entry]) -> str:
    return f"trees/{contexts.digest(entries)[:12]}"


def _add_library(archive: tarfile.TarFile) -> None:
    _add(archive, f"{LIBRARY}/moorage/__init__.py", b"")
    package = Path(__file__).parents[1]
    for part in ("common", "images", "release"):
        for path in sorted((package / part).glob("*.py")):
            _add(archive, f"{LIBRARY}/moorage/{part}/{path.name}", path.read_bytes())


def _add_tree(archive: tarfile.TarFile, tree: str, entries: Iterable[contexts.Entry]) -> None:
    directories = {tree}
    files = sorted(entries, key=lambda entry: entry.path)
    for entry in files:
        directories.update(f"{tree}/{parent}" for parent in _parents(entry.path))
    for name in sorted(directories):
        info = _info(name, 0o755)
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    for entry in files:
        if entry.link is not None:
            info = _info(f"{tree}/{entry.path}", 0o777)
            info.type, info.linkname = tarfile.SYMTYPE, entry.link
            archive.addfile(info)
        else:
            _add(archive, f"{tree}/{entry.path}", entry.source.read_bytes(), entry.mode)


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    info = _info(name, mode)
    info.size = len(content)
    info.mtime = _EARLIEST + int(hashlib.sha256(content).hexdigest()[:8], 16) % _SPAN
    archive.addfile(info, io.BytesIO(content))


def _info(name: str, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = mode, _EARLIEST
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info
