"""A directory as a tar stream and back, whoever writes in it meanwhile.

An application may put links, pipes and devices where root is about to read, and swap directories
for links at any moment. So everything goes through descriptors, and takes what was opened for what
it is, not what a name says. What comes back is treated in the same way: a stream that tells of a
link first and of a directory in its place later leads nowhere.

Formats: tar(5), pax with GNU's extension 1.0 for files with holes and the SCHILY one for extended
attributes, which GNU tar reads too.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

from moorage.deploy.foreign import DEEPEST, ENTER, KINDS, LOOK, TOLD, mount_of, remove_tree

_CHUNK = 1 << 20
_BLOCK = 512
_XATTR = "SCHILY.xattr."
# An application's own, and who else may read; what only the kernel's modules use stays behind.
_KEPT_XATTRS = ("user.", "system.posix_acl_")
_NO_XATTRS = (errno.ENOTSUP, errno.ENODATA, errno.EPERM)


@dataclass
class Packed:
    """What became of a directory: ``left`` tells what is not in the stream, and why.

    ``changed`` tells of files that were written meanwhile: they are there, in part old, in part
    new. Of both the first are named, and all are counted.
    """

    files: int = 0
    left: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    left_count: int = 0
    changed_count: int = 0

    def leave(self, name: str, why: str) -> None:
        """Note what is not in the stream."""
        self.left_count += 1
        if self.left_count <= TOLD:
            self.left.append(f"{name}: {why}")

    def differs(self, name: str, how: str) -> None:
        """Note what was not the same at the end of its reading as at the beginning."""
        self.changed_count += 1
        if self.changed_count <= TOLD:
            self.changed.append(f"{name}: {how}")


def pack(directory: Path, out: IO[bytes]) -> Packed:
    """Write what lies in a directory to ``out``; the directory's own path can be trusted.

    Owners, modes, times, links and holes of files are as they are. Raises OSError where there is no
    such directory, or it cannot be read.
    """
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with tarfile.open(fileobj=out, mode="w|", bufsize=_CHUNK, format=tarfile.PAX_FORMAT) as tar:
            tar.copybufsize = _CHUNK  # type: ignore[attr-defined]
            writer = _Writer(tar, mount_of(top))
            tar.addfile(writer.about(".", os.fstat(top), top))
            writer.walk(top)
    finally:
        os.close(top)
    return writer.done


class _Writer:
    """Goes through a directory by descriptors alone, however much lies in it."""

    def __init__(self, tar: tarfile.TarFile, mount: str) -> None:
        self.done = Packed()
        self._tar, self._mount = tar, mount
        # Files that have other names: as which one each is in the stream, and the way back.
        self._names: dict[tuple[int, int], str] = {}
        self._linked: dict[str, tuple[int, int]] = {}
        # Directories that such files lie in, however deep.
        self._holders: set[str] = set()

    def walk(self, top: int) -> None:
        """Write all that lies below the directory that is open as ``top``."""
        levels = [(os.dup(top), "", os.scandir(top))]
        try:
            while levels:
                directory, path, entries = levels[-1]
                entry = next(entries, None)
                if entry is None:
                    self._close(*levels.pop())
                    continue
                name = f"{path}{entry.name}"
                inner = self._add(directory, entry.name, name, len(levels))
                if inner is not None:
                    levels.append((inner, f"{name}/", os.scandir(inner)))
        finally:
            for level in levels:
                self._close(*level)

    @staticmethod
    def _close(directory: int, _path: str, entries: os._ScandirIterator[str]) -> None:
        entries.close()
        os.close(directory)

    def _add(self, directory: int, entry: str, name: str, depth: int) -> int | None:
        """Write one entry; returns the descriptor of a directory to go into."""
        try:
            seen = os.open(entry, LOOK, dir_fd=directory)
        except FileNotFoundError:
            # It went between the list and the look: as if it had gone before.
            return None
        try:
            status = os.fstat(seen)
            kind = stat.S_IFMT(status.st_mode)
            # A name that comes again: no later link may lead to what is there in its place.
            self._forget(name)
            if kind != stat.S_IFDIR and name in self._holders:
                below = [linked for linked in self._linked if linked.startswith(f"{name}/")]
                for linked in below:
                    self._forget(linked)
            if mount_of(seen) != self._mount:
                self.done.leave(name, "another file system is mounted there")
            elif kind == stat.S_IFDIR:
                return self._directory(seen, status, name, depth)
            elif kind == stat.S_IFLNK:
                info = self.about(name, status)
                info.type, info.linkname = tarfile.SYMTYPE, os.readlink("", dir_fd=seen)
                self._tar.addfile(info)
            elif kind == stat.S_IFREG:
                self._file(seen, status, name)
            else:
                self.done.leave(name, KINDS.get(kind, "no file"))
            return None
        finally:
            os.close(seen)

    def _forget(self, name: str) -> None:
        self._names.pop(self._linked.pop(name, (0, 0)), None)

    def about(self, name: str, status: os.stat_result, fd: int | None = None) -> tarfile.TarInfo:
        """Return what the stream says of an entry, beside its content."""
        info = tarfile.TarInfo(name)
        info.mode = stat.S_IMODE(status.st_mode)
        info.uid, info.gid, info.mtime = status.st_uid, status.st_gid, int(status.st_mtime)
        headers = {"mtime": f"{status.st_mtime_ns // 10**9}.{status.st_mtime_ns % 10**9:09}"}
        if stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
        if fd is not None:
            headers |= _xattrs(fd)
        info.pax_headers = headers
        return info

    def _directory(self, seen: int, status: os.stat_result, name: str, depth: int) -> int | None:
        if depth > DEEPEST:
            self.done.leave(name, f"deeper than {DEEPEST} directories")
            return None
        # What was looked at, whatever the name stands for by now.
        inner = os.open(f"/proc/self/fd/{seen}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._tar.addfile(self.about(name, status, inner))
        except BaseException:
            os.close(inner)
            raise
        return inner

    def _file(self, seen: int, status: os.stat_result, name: str) -> None:
        identity = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and identity in self._names:
            info = self.about(name, status)
            info.type, info.linkname = tarfile.LNKTYPE, self._names[identity]
            self._tar.addfile(info)
            return
        fd = os.open(f"/proc/self/fd/{seen}", os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(fd, "rb", buffering=0) as source:
            # Its size may have changed since: the stream has as much as it says beforehand.
            before = os.fstat(fd)
            self._content(source, before, name)
            after = os.fstat(fd)
        self.done.files += 1
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            self.done.differs(name, "was written while it was read")
        if status.st_nlink > 1:
            self._names[identity], self._linked[name] = name, identity
            above = name.rpartition("/")[0]
            while above and above not in self._holders:
                self._holders.add(above)
                above = above.rpartition("/")[0]

    def _content(self, source: IO[bytes], status: os.stat_result, name: str) -> None:
        info = self.about(name, status, source.fileno())
        if status.st_blocks * _BLOCK >= status.st_size:
            info.size = status.st_size
            self._tar.addfile(info, _Exactly(source, [(0, info.size)]))  # type: ignore[arg-type]
            return
        parts = list(_data(source.fileno(), status.st_size))
        table = "".join(
            f"{number}\n" for number in (len(parts), *chain.from_iterable(parts))
        ).encode()
        table += bytes(-len(table) % _BLOCK)
        info.pax_headers = {
            **info.pax_headers,
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": name,
            "GNU.sparse.realsize": str(status.st_size),
        }
        info.size = len(table) + sum(size for _, size in parts)
        self._tar.addfile(info, _Exactly(source, parts, table))  # type: ignore[arg-type]


class _Exactly:
    """Reads parts of a file, (offset, size) each, behind a head; zeros for what is gone by now."""

    def __init__(self, source: IO[bytes], parts: list[tuple[int, int]], head: bytes = b"") -> None:
        self._pieces = self._read(source, parts, head)
        self._kept = b""

    def read(self, size: int) -> bytes:
        """Return as many bytes as are asked for, unless all parts are at their end."""
        while len(self._kept) < size and (piece := next(self._pieces, b"")):
            self._kept += piece
        found, self._kept = self._kept[:size], self._kept[size:]
        return found

    @staticmethod
    def _read(source: IO[bytes], parts: list[tuple[int, int]], head: bytes) -> Iterator[bytes]:
        if head:
            yield head
        for offset, size in parts:
            source.seek(offset)
            while size > 0:
                piece = source.read(min(_CHUNK, size)) or bytes(min(_CHUNK, size))
                size -= len(piece)
                yield piece


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where a file has data, (offset, size) each; the last one may be empty, at its end."""
    at = 0
    while at < size:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as trouble:
            if trouble.errno != errno.ENXIO:
                raise
            break
        if begin >= size:
            break
        at = min(os.lseek(fd, begin, os.SEEK_HOLE), size)
        yield begin, at - begin
    yield size, 0


def _xattrs(fd: int) -> dict[str, str]:
    found = {}
    try:
        for name in os.listxattr(fd):
            if name.startswith(_KEPT_XATTRS):
                found[_XATTR + name] = os.getxattr(fd, name).decode("utf-8", "surrogateescape")
    except OSError as trouble:
        if trouble.errno not in _NO_XATTRS:
            raise
    return found


class Broken(Exception):
    """A stream is not one of `pack`'s; the message says what is wrong with it."""


def unpack(
    source: IO[bytes],
    directory: Path,
    users: Mapping[int, int] | None = None,
    groups: Mapping[int, int] | None = None,
) -> None:
    """Make a directory, which is not there yet, of a stream.

    It is root's alone until all of it is there. ``users`` and ``groups`` give those of the stream
    that are others on this host. Raises Broken and OSError; what is there by then is left.
    """
    directory.mkdir(mode=0o700)
    top = os.open(directory, ENTER)
    try:
        reader = _Reader(top, users or {}, groups or {})
        with tarfile.open(fileobj=source, mode="r|", bufsize=_CHUNK) as tar:
            for info in tar:
                reader.take(tar, info)
        reader.end()
    except (tarfile.TarError, ValueError) as trouble:
        raise Broken(f"it is no stream of files: {trouble}") from None
    finally:
        os.close(top)


def listed(source: IO[bytes]) -> int:
    """Read a stream to its end and return how many entries it has; raises Broken."""
    count = 0
    try:
        with tarfile.open(fileobj=source, mode="r|", bufsize=_CHUNK) as tar:
            for _ in tar:
                count += 1
    except (tarfile.TarError, ValueError) as trouble:
        raise Broken(f"it is no stream of files: {trouble}") from None
    return count


class _Reader:
    """Makes what a stream tells of, below the directory that is open as ``top``."""

    def __init__(self, top: int, users: Mapping[int, int], groups: Mapping[int, int]) -> None:
        self._top, self._users, self._groups = top, users, groups
        # Directories get their owners and times last: what is made in them changes those.
        self._directories: dict[str, tarfile.TarInfo] = {}

    def take(self, tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        """Make one entry, in the place of what had its name.

        An application may rename while it is read, so that a name comes twice, as whatever kind:
        the last one counts.
        """
        with self._parent(info.name) as (parent, name):
            try:
                if name:
                    os.unlink(name, dir_fd=parent)
            except FileNotFoundError:
                pass
            except IsADirectoryError:
                if not info.isdir():
                    remove_tree(Path(f"/proc/self/fd/{parent}/{name}"))
            if info.isdir():
                if name:
                    with suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=parent)
                self._directories[info.name] = info
            elif info.issym():
                os.symlink(info.linkname, name, dir_fd=parent)
                user, group = self._owner(info)
                os.chown(name, user, group, dir_fd=parent, follow_symlinks=False)
                moment = _nanoseconds(info)
                os.utime(name, ns=(moment, moment), dir_fd=parent, follow_symlinks=False)
            elif info.islnk():
                # What it leads to may have gone with a directory that had something in its place.
                gone = suppress(FileNotFoundError, NotADirectoryError)
                with gone, self._parent(info.linkname) as (other, first):
                    os.link(first, name, src_dir_fd=other, dst_dir_fd=parent, follow_symlinks=False)
            elif info.isreg():
                self._file(tar, info, parent, name)
            else:
                raise Broken(f"{info.name} is neither a file nor a directory nor a link")

    def end(self) -> None:
        """Give directories what they have beside their content."""
        for path, info in self._directories.items():
            # One that something else has taken the place of has nothing any more.
            with suppress(FileNotFoundError, NotADirectoryError), self._open(path) as fd:
                self._settle(fd, info)

    @contextmanager
    def _open(self, path: str) -> Iterator[int]:
        with self._parent(path) as (parent, name):
            fd = os.open(name or ".", ENTER, dir_fd=parent)
        try:
            yield fd
        finally:
            os.close(fd)

    def _file(self, tar: tarfile.TarFile, info: tarfile.TarInfo, parent: int, name: str) -> None:
        how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        # Past `extractfile`, which would read terabytes of holes.
        content: Any = tar.fileobj
        content.seek(info.offset_data)
        with os.fdopen(os.open(name, how, 0o600, dir_fd=parent), "wb") as out:
            # What a stream says of holes, which the types do not know.
            holes: Any = info.sparse
            for offset, size in holes or [(0, info.size)]:
                out.seek(offset)
                _copy(content, out, size)
            out.truncate(info.size)
            self._settle(out.fileno(), info)

    def _settle(self, fd: int, info: tarfile.TarInfo) -> None:
        os.fchown(fd, *self._owner(info))
        # After the owner: a change of that clears the set-id bits.
        os.fchmod(fd, stat.S_IMODE(info.mode))
        for key, value in info.pax_headers.items():
            if key.startswith(tuple(_XATTR + kept for kept in _KEPT_XATTRS)):
                attribute = value.encode("utf-8", "surrogateescape")
                os.setxattr(fd, key.removeprefix(_XATTR), attribute)
        moment = _nanoseconds(info)
        os.utime(fd, ns=(moment, moment))

    def _owner(self, info: tarfile.TarInfo) -> tuple[int, int]:
        return self._users.get(info.uid, info.uid), self._groups.get(info.gid, info.gid)

    @contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        """Open the directory that a path lies in, following nothing; "" is the top itself."""
        *above, name = [part for part in path.split("/") if part not in ("", ".")] or [""]
        if ".." in (*above, name):
            raise Broken(f"{path} leads out of the directory")
        fd = os.dup(self._top)
        try:
            for part in above:
                inner = os.open(part, ENTER, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd, name
        finally:
            os.close(fd)


def _copy(source: IO[bytes], out: IO[bytes], size: int) -> None:
    while size > 0:
        piece = source.read(min(_CHUNK, size))
        if not piece:
            raise Broken("it ends in the middle of a file")
        out.write(piece)
        size -= len(piece)


def _nanoseconds(info: tarfile.TarInfo) -> int:
    whole, _, rest = str(info.pax_headers.get("mtime", info.mtime)).partition(".")
    return int(whole) * 10**9 + int(rest[:9].ljust(9, "0") or 0)
