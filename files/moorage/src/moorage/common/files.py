"""Writing what others rely on: whole or not at all, on the disk, and nobody's but its reader's.

In directories of root's own; those of applications are `moorage.deploy.foreign`'s. Also a module of
the plugins, so it needs nothing of moorage.
"""

from __future__ import annotations

import os
import time
from pathlib import Path


def write_atomically(
    path: Path,
    content: str | bytes,
    mode: int = 0o644,
    owner: tuple[int, int] | None = None,
) -> None:
    """Replace ``path`` by ``content`` so that a reader or a power cut sees the old or the new.

    ``owner`` is a user and a group, None whoever writes. Raises OSError, which names a file.
    """
    data = content.encode() if isinstance(content, str) else content
    scratch = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(scratch, how, 0o600), "wb") as out:
            # Before there is anything to read; and the owner first, which drops the set-id bits.
            if owner is not None:
                os.fchown(out.fileno(), *owner)
            os.fchmod(out.fileno(), mode)
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        replace(scratch, path)
    except OSError as trouble:
        scratch.unlink(missing_ok=True)
        # A full disk does not say by itself which.
        trouble.filename = trouble.filename or str(path)
        raise
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def lead(path: Path, target: str) -> None:
    """Have a symbolic link at ``path`` that leads to ``target``, from one moment to the next."""
    scratch = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    scratch.symlink_to(target)
    try:
        replace(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def replace(scratch: Path, path: Path) -> None:
    """Have ``scratch`` stand at ``path``, for good, whatever stood there."""
    try:
        scratch.replace(path)
    except IsADirectoryError:
        put_aside(path)
        scratch.replace(path)
    persist(path.parent)


def persist(path: Path) -> None:
    """Have a file, or the names in a directory, written to the disk itself."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put_aside(path: Path) -> None:
    """Rename what is no file of ours and stands in the place of one; it is lost to nobody."""
    if os.path.lexists(path):
        path.rename(path.with_name(f"{path.name}.{time.time_ns():x}"))


def discard(path: Path) -> None:
    """Have no file there any more, whatever stands in its place."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        put_aside(path)
