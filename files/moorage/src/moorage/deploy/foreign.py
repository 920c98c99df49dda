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
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Another file system, or the place where one is mounted.
_APART = (errno.EXDEV, errno.EBUSY)
_TRIES = 10
# Who reads it needs no list of a million names.
TOLD = 20
# A directory has two descriptors while it is gone through, and a process has a thousand.
DEEPEST = 200
KINDS = {
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
            if len(found) == TOLD:
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
        fd = os.open(name, LOOK, dir_fd=self._fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def _kind(self, status: os.stat_result) -> str:
        """Say what something is; "" for an ordinary file of the directory's owner."""
        if not stat.S_ISREG(status.st_mode):
            return KINDS.get(stat.S_IFMT(status.st_mode), "no file")
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


def disarm(directory: Path) -> None:
    """Have nothing below be a device, or make whoever runs it somebody else.

    Users of the host reach an application's directories, as they reach none of an engine's own.
    """
    for _, _, names, here in os.fwalk(directory):
        for name in names:
            seen = os.open(name, LOOK, dir_fd=here)
            try:
                mode = os.fstat(seen).st_mode
                if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                    os.unlink(name, dir_fd=here)
                elif stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                    os.chmod(f"/proc/self/fd/{seen}", mode & 0o1777)
            finally:
                os.close(seen)


@dataclass
class Passed:
    """What of a directory changed hands: how many files and directories, and what stayed."""

    files: int = 0
    left: int = 0
    odd: list[str] = field(default_factory=list)


def pass_on(
    directory: Path,
    owner: tuple[int, int],
    mode: int,
    users: Collection[int] = (),
    groups: Collection[int] = (),
    *,
    sockets: bool = False,
) -> Passed:
    """Have a directory belong to ``owner``, and below it what belongs to ``users`` and ``groups``.

    Whoever is cut off finds the directory itself as it was: that changes last. Only directories
    and files with one name go along, and sockets and pipes where they are asked for; what is odd
    stays, and so does what is mounted below. Raises OSError when there is no such directory.
    """
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        walk = _Walk(directory, owner, users, groups, sockets)
        if users or groups:
            walk.run(top)
        os.fchown(top, *owner)
        # After the owner: a change of that clears the set-group-id bit.
        os.fchmod(top, mode)
    finally:
        os.close(top)
    return walk.done


class _Walk:
    """Goes through a directory by descriptors alone, however much lies in it."""

    def __init__(
        self,
        path: Path,
        owner: tuple[int, int],
        users: Collection[int],
        groups: Collection[int],
        sockets: bool,
    ) -> None:
        self.done = Passed()
        self._path, self._owner, self._users, self._groups = path, owner, users, groups
        self._usual = {stat.S_IFREG, *((stat.S_IFSOCK, stat.S_IFIFO) if sockets else ())}

    def run(self, top: int) -> None:
        """Give away what lies below the directory that is open as ``top``."""
        mount, names = mount_of(top), list[str]()
        # Only the way down is open, however much lies beside it.
        levels = [(top, os.scandir(top))]
        try:
            while levels:
                directory, entries = levels[-1]
                entry = next(entries, None)
                if entry is None:
                    self._close(*levels.pop(), top)
                    del names[-1:]
                    continue
                name = "/".join([*names, entry.name])
                inner = self._pass(directory, entry.name, name, mount)
                if inner is None:
                    continue
                levels.append((inner, os.scandir(inner)))
                names.append(entry.name)
                if len(levels) > DEEPEST:
                    self._leave(name, f"deeper than {DEEPEST} directories")
                    self._close(*levels.pop(), top)
                    del names[-1:]
        finally:
            for directory, entries in levels:
                self._close(directory, entries, top)

    @staticmethod
    def _close(directory: int, entries: os._ScandirIterator[str], top: int) -> None:
        entries.close()
        if directory != top:
            os.close(directory)

    def _pass(self, directory: int, entry: str, name: str, mount: str) -> int | None:
        """Give one entry away; returns the descriptor of a directory to go into."""
        try:
            seen = os.open(entry, LOOK, dir_fd=directory)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(seen)
            inside = stat.S_ISDIR(status.st_mode)
            mine = status.st_uid in self._users or status.st_gid in self._groups
            if not (mine or inside):
                return None
            why = "another file system" if mount_of(seen) != mount else self._odd(status)
            if why:
                self._leave(name, why)
                return None
            if mine:
                self._give(seen, status, name)
            # What was looked at, whatever the name stands for by now.
            here = f"/proc/self/fd/{seen}"
            return os.open(here, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if inside else None
        finally:
            os.close(seen)

    def _odd(self, status: os.stat_result) -> str:
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            return ""
        if kind not in self._usual:
            return KINDS.get(kind, "no file")
        return "" if status.st_nlink == 1 else f"a file with {status.st_nlink} names"

    def _give(self, seen: int, status: os.stat_result, name: str) -> None:
        user = self._owner[0] if status.st_uid in self._users else -1
        group = self._owner[1] if status.st_gid in self._groups else -1
        try:
            os.chown(f"/proc/self/fd/{seen}", user, group)
        except PermissionError as trouble:
            # It has been made immutable.
            self._leave(name, trouble.strerror or str(trouble))
        else:
            self.done.files += 1

    def _leave(self, name: str, why: str) -> None:
        self.done.left += 1
        if self.done.left <= TOLD:
            self.done.odd.append(f"{self._path}/{name}: {why}")


def mount_of(fd: int) -> str:
    """Return what tells a mount from others; a bind of the same file system is another one."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as facts:
        return next((line for line in facts if line.startswith("mnt_id:")), "")


def remove_tree(path: Path) -> None:
    """Remove a directory that holds some of an application's, however deep, following nothing."""
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _remove_tree(parent, path.name)
    finally:
        os.close(parent)


def _remove_tree(parent: int, name: str) -> None:
    fd = os.open(name, ENTER, dir_fd=parent)
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
        fd = os.open(name, ENTER, dir_fd=top)
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
