"""Directories that an application can write, and how root works in them: never by a path.

Whoever owns a directory may put a link, a pipe or a second name of another file where root is about
to read, write or remove something, at any moment. So everything here goes through a descriptor of
the directory, looks at what it has opened rather than at what a name says, and takes nothing for a
file but a regular one with a single name that belongs to the directory's owner. The directory
itself lies in one of root's: its own path can be trusted.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Another file system, or the place where one is mounted.
_APART = (errno.EXDEV, errno.EBUSY)
_TRIES = 10
# Who reads it needs no list of a million names.
_TOLD = 20
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Foreign:
    """One directory of an application, open until the ``with`` block ends.

    Raises OSError where there is no such directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._owner = os.fstat(self._fd)

    def __enter__(self) -> Foreign:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def odd(self, usual: Collection[str] = ()) -> list[str]:
        """Say what lies here that no honest supervisor puts here; ``usual`` are kinds to expect."""
        found = []
        for name in os.listdir(self._fd):
            with suppress(FileNotFoundError), self._look(name) as fd:
                kind = self._kind(os.fstat(fd))
                if kind and kind not in usual:
                    found.append(f"{self.path}/{name}: {kind}")
            if len(found) == _TOLD:
                return [*found, f"{self.path}: more of the kind"]
        return sorted(found)

    def read_tail(self, name: str, limit: int) -> bytes | None:
        """Return the last whole lines of a file, ``limit`` bytes at most; None for what is none."""
        try:
            with self._look(name) as seen:
                if self._kind(os.fstat(seen)):
                    return None
                # What was looked at and nothing else, whatever the name stands for by now.
                fd = os.open(f"/proc/self/fd/{seen}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as source:
            cut = max(0, os.fstat(fd).st_size - limit)
            source.seek(cut)
            found = source.read(limit)
        return found.partition(b"\n")[2] if cut else found

    def write(self, name: str, content: bytes, mode: int = 0o640) -> None:
        """Put a file here that belongs to the directory's owner, in the place of what is there."""
        scratch = f".{name}.{secrets.token_hex(8)}"
        with os.fdopen(os.open(scratch, _CREATE, 0o600, dir_fd=self._fd), "wb") as out:
            out.write(content)
            out.flush()
            os.fchown(out.fileno(), self._owner.st_uid, self._owner.st_gid)
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        for attempt in range(_TRIES):
            try:
                os.rename(scratch, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            except IsADirectoryError:
                if attempt == _TRIES - 1:
                    raise
                _remove_tree(self._fd, name)
            else:
                break
        os.fsync(self._fd)

    def clear(self) -> None:
        """Remove all that lies here; the directory stays, since containers mount it."""
        _empty(self._fd)

    @contextmanager
    def _look(self, name: str) -> Iterator[int]:
        fd = os.open(name, _LOOK, dir_fd=self._fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def _kind(self, status: os.stat_result) -> str:
        """Say what something is; "" for an ordinary file of the directory's owner."""
        if not stat.S_ISREG(status.st_mode):
            return _KINDS.get(stat.S_IFMT(status.st_mode), "no file")
        if status.st_nlink != 1:
            return f"a file with {status.st_nlink} names"
        if status.st_uid != self._owner.st_uid:
            return f"a file of user {status.st_uid}"
        return ""


def give(directory: Path, owner: int, group: int, mode: int) -> None:
    """Have a directory belong to an application; what lies in it is left as it is."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchown(fd, owner, group)
        # After the owner: a change of that clears the set-group-id bit.
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def remove_tree(path: Path) -> None:
    """Remove a directory that holds some of an application's, however deep, following nothing."""
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _remove_tree(parent, path.name)
    finally:
        os.close(parent)


def _remove_tree(parent: int, name: str) -> None:
    fd = os.open(name, _ENTER, dir_fd=parent)
    try:
        _empty(fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)


def _empty(top: int) -> None:
    """Remove all below a directory.

    Directories are lifted to the top before they are emptied: neither the stack of calls nor the
    number of descriptors grows with how deep somebody has nested them.
    """
    waiting = _take(top, top)
    while waiting:
        name = waiting.pop()
        fd = os.open(name, _ENTER, dir_fd=top)
        try:
            waiting += _take(fd, top)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=top)


def _take(directory: int, top: int) -> list[str]:
    """Remove what is no directory, and lift what is one; return the names of those at the top."""
    lifted = []
    for name in os.listdir(directory):
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            continue
        except IsADirectoryError:
            if directory == top:
                lifted.append(name)
                continue
            fresh = f".gone-{secrets.token_hex(8)}"
            try:
                os.rename(name, fresh, src_dir_fd=directory, dst_dir_fd=top)
            except OSError as trouble:
                if trouble.errno not in _APART:
                    raise
                _remove_tree(directory, name)
            else:
                lifted.append(fresh)
    return lifted
