"""A new volume takes owner and first content from its image, as a volume of the engine does.

The engine itself copies: a throw-away volume of its own is bound to the directory, which is empty
and root's alone. No path is followed here that an image or an application has made.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

from moorage.common.engine import DockerError, Engine
from moorage.deploy.foreign import Foreign, disarm, give
from moorage.deploy.release import Release
from moorage.deploy.runtimes.docker import run
from moorage.release.layout import Layout
from moorage.release.manifest import Seed
from moorage.release.names import STACK_LABEL

# What a directory looks like of which no image was asked yet, and what an engine makes of one that
# the image has nothing for.
_NEW, _USUAL = 0o700, 0o755
# Of a file of accounts in an image: one that is larger is none.
_ACCOUNTS_BYTES = 1 << 20
_UNKNOWN = 'name its owner in numbers: `user: "uid:gid"`, or `STACK_volume_owners`'


def seed(layout: Layout, release: Release) -> Iterator[tuple[str, str]]:
    """Give each volume of the release that is new what its image has there; yields path and image.

    Raises DockerError and OSError.
    """
    found: dict[Path, list[Seed]] = {}
    for entry in release.manifest.seeds:
        found.setdefault(Path(entry.path), []).append(entry)
    for path, seeds in found.items():
        # Root's directory: only what lies below it is the applications'.
        if path.parent == layout.data and _is_new(path) and not _is_mounted(path):
            try:
                image = _seed(path, seeds)
            except BaseException:
                # A part of it would pass for what the application has made of it.
                with Foreign(path) as part:
                    part.clear()
                give(path, 0, 0, _NEW)
                raise
            yield str(path), image


def _is_new(path: Path) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    looks = stat.S_ISDIR(status.st_mode), stat.S_IMODE(status.st_mode), status.st_uid
    return looks == (True, _NEW, 0) and not os.listdir(path)


def _is_mounted(path: Path) -> bool:
    """Whether a container has it: its root can make a volume look new, and the engine copies by
    path, through whatever link is swapped in meanwhile.
    """
    return bool(run(["ps", "--all", "--quiet", "--filter", f"volume={path}"]).strip())


def _seed(path: Path, seeds: list[Seed]) -> str:
    source = seeds[0]
    for source in seeds:
        _copy(path, source)
        disarm(path)
        if not _is_new(path):
            break
    else:
        # No image has anything there: it is of whoever comes first.
        source = seeds[0]
    status = path.lstat()
    uid, gid, mode = status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)
    if uid == 0 and not os.listdir(path) and (user := _user(source))[0]:
        uid, gid = user
    usual = _USUAL if mode == _NEW else mode
    give(path, uid, gid, int(source.mode, 8) if source.mode else usual)
    return source.image


def _copy(path: Path, source: Seed) -> None:
    volume = f"moorage-seed-{secrets.token_hex(8)}"
    bound = ("--opt", "type=none", "--opt", "o=bind", "--opt", f"device={path}")
    run(["volume", "create", *bound, volume])
    try:
        with _container(source.image, "--volume", f"{volume}:{source.target}"):
            pass
    finally:
        run(["volume", "rm", volume])


@contextmanager
def _container(image: str, *options: str) -> Iterator[str]:
    """Make a container that never runs; the engine copies while it makes it."""
    # An image may pose as another stack's service: containers inherit its labels.
    mine = ("--network", "none", "--label", f"{STACK_LABEL}=", *options)
    argv = ["create", "--pull", "never", *mine, image, "true"]
    name = run(argv, timeout_seconds=600).strip()
    try:
        yield name
    finally:
        # With what the image declares as volumes.
        run(["rm", "--force", "--volumes", name])


def _user(source: Seed) -> tuple[int, int]:
    """Return as whom a service works: as its description says, else its image."""
    image = Engine().image(source.image) or {}
    text = source.user or str((image.get("Config") or {}).get("User") or "")
    user, _, group = text.partition(":")
    if not text or (_is_number(user) and _is_number(group or "0")):
        return int(user or 0), int(group or 0)
    with _container(source.image) as container:
        accounts = _lines(container, "/etc/passwd")
        groups = _lines(container, "/etc/group") if group else []
    for name, _, uid, gid, *_ in accounts:
        if user in (name, uid) and _is_number(uid) and _is_number(gid):
            own = next((g for n, _, g, *_ in groups if group in (n, g)), "" if group else gid)
            if _is_number(own):
                return int(uid), int(own)
    raise DockerError(f"the image {source.image} has no account {text[:80]!r}: {_UNKNOWN}")


def _is_number(text: str) -> bool:
    """Whether it is a user or a group in numbers, of those that an engine takes."""
    return re.fullmatch("[0-9]{1,10}", text) is not None and int(text) < 1 << 31


def _lines(container: str, path: str) -> list[list[str]]:
    argv = ["docker", "cp", f"{container}:{path}", "-"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as copying:
        assert copying.stdout is not None
        packed = copying.stdout.read(_ACCOUNTS_BYTES)
        copying.kill()
    content = b""
    with suppress(tarfile.TarError), tarfile.open(fileobj=BytesIO(packed)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            content = file.read() if file else b""
    rows = (line.split(":") for line in content.decode("utf-8", "replace").splitlines())
    return [row for row in rows if len(row) >= 4]
