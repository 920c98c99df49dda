"""A log file that is appended to, rotated and reopened without ever cutting a line.

Its only writer is the supervisor, which may be killed between any two system calls. A chunk goes
from FIFO to file in one splice(), so no byte is ever only in the supervisor's memory. Rotation
and reopening move the unfinished last line into the new file in steps that can be finished later.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os

from process_supervisor.common.files import read_json, write_atomic
from process_supervisor.output.times import Times

CHUNK = 1 << 20
# A line longer than this is not looked through for its start: the file then grows until it ends.
LONGEST_TAIL = 1 << 20
# One that goes on for so much beyond the size limit is cut: it would fill the disk.
ENDLESS = 16 << 20


def read_at(fd: int, offset: int, size: int) -> bytes:
    """Read size bytes at offset, fewer at the end of the file."""
    parts: list[bytes] = []
    while size > 0:
        part = os.pread(fd, min(size, CHUNK), offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        size -= len(part)
    return b"".join(parts)


def write_all(fd: int, data: bytes, offset: int) -> None:
    """Write data whole at offset."""
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written


def line_start(fd: int, size: int) -> int | None:
    """Return where the unfinished last line begins (size if it is finished), None if too far."""
    low = max(0, size - LONGEST_TAIL)
    # Nearly always the last byte is a newline: look at little first.
    for step in (256, LONGEST_TAIL):
        begin = max(low, size - step)
        found = read_at(fd, begin, size - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
    return 0 if low == 0 else None


def move_line(source: int, target: int) -> None:
    """Move the unfinished last line of a file to the start of the next one.

    It may be there already, or a part of it, when this is done again after a kill.
    """
    size = os.fstat(source).st_size
    start = line_start(source, size)
    if start is None or start == size:
        return
    line = read_at(source, start, size - start)
    if line.startswith(read_at(target, 0, len(line))):
        write_all(target, line, 0)
        os.ftruncate(source, start)


class LogFile:
    """One log file. `note` is a path in run_dir that remembers which file is being written."""

    def __init__(
        self,
        path: str,
        note: str,
        max_bytes: int = 0,
        backups: int = 5,
        times: Times | None = None,
    ) -> None:
        self.path = path
        self.times = times
        self.max_bytes = max_bytes
        self.backups = backups
        self._note = note
        self._splices = True
        self._checked = 0
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        self.fd = self._recover()

    def take(self, pipe: int) -> int:
        """Append what a non-blocking pipe holds, up to a megabyte; return the number of bytes.

        0 means that the pipe is empty. Raises OSError (ENOSPC) with the data still in the pipe.
        """
        info = os.fstat(self.fd)
        size = info.st_size
        taken = self._move(pipe, size)
        if taken and self.times is not None:
            self.times.note(info.st_ino, size)
        if taken and self.max_bytes and size + taken >= max(self.max_bytes, self._checked):
            self._rotate_at_line(size + taken)
        return taken

    def note(self, line: bytes) -> None:
        """Append a line of our own, whole or not at all, and never within another line."""
        size = os.fstat(self.fd).st_size
        if size and read_at(self.fd, size - 1, 1) != b"\n":
            line = b"\n" + line
        try:
            write_all(self.fd, line, size)
        except OSError:
            os.ftruncate(self.fd, size)
            raise

    def reopen(self) -> None:
        """Continue in the file that `path` names now, after a log rotator moved the old one."""
        fd = self._open(self.path)
        if os.path.sameopenfile(fd, self.fd):
            os.close(fd)
            return
        move_line(self.fd, fd)
        self._use(fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)

    @staticmethod
    def _open(path: str) -> int:
        # Not O_APPEND: splice() refuses such a file.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(path, flags | os.O_NOFOLLOW, 0o640)
        except OSError as error:
            # Where an application may write, it would have us write anywhere.
            if error.errno != errno.ELOOP or os.lstat(path).st_uid not in (0, os.geteuid()):
                raise
        return os.open(path, flags, 0o640)

    def _move(self, pipe: int, size: int) -> int:
        # Little beyond the size limit at a time, so that a rotated file is hardly larger.
        most = min(CHUNK, max(self.max_bytes - size, 1 << 14)) if self.max_bytes else CHUNK
        if self._splices:
            try:
                return os.splice(pipe, self.fd, most, offset_dst=size, flags=os.SPLICE_F_NONBLOCK)
            except BlockingIOError:
                return 0
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOSYS):
                    raise
                self._splices = False  # a file system without it
        try:
            data = os.read(pipe, most)
        except BlockingIOError:
            return 0
        write_all(self.fd, data, size)
        return len(data)

    def _rotate_at_line(self, size: int) -> None:
        start = line_start(self.fd, size)
        if not start:
            if size < self.max_bytes + ENDLESS:
                self._checked = size + LONGEST_TAIL  # a very long line: look again later
                return
            start = size
        self._checked = 0
        fd = self._open(self._fresh)
        try:
            os.ftruncate(fd, 0)
            write_all(fd, read_at(self.fd, start, size - start), 0)
            self._shift()
            os.replace(self._fresh, self.path)
            os.ftruncate(self.fd, start)
        except OSError:
            os.close(fd)  # a full disk, for which it is tried again and again
            raise
        self._use(fd)

    def _shift(self) -> None:
        """Rename path to path.1, path.1 to path.2 and so on; the oldest goes."""
        for number in range(self.backups, 0, -1):
            older = f"{self.path}.{number - 1}" if number > 1 else self.path
            if os.path.exists(older):
                os.replace(older, f"{self.path}.{number}")

    @property
    def _fresh(self) -> str:
        return f"{self.path}.new"

    def _use(self, fd: int) -> None:
        """Write to another file from now on; the last step of every change of files."""
        self._remember(fd)
        os.close(self.fd)
        self.fd = fd
        if self.times is not None:
            self.times.begin_anew()

    def _remember(self, fd: int) -> None:
        write_atomic(self._note, json.dumps(self._noted(fd)))

    def _noted(self, fd: int) -> dict[str, object]:
        return {"path": self.path, "inode": os.fstat(fd).st_ino}

    def _recover(self) -> int:
        """Finish what a supervisor killed in the middle of a change of files began.

        The same serves for a file that was moved away while no supervisor lived: the old file,
        wherever it is now, ends where its last line began.
        """
        note = read_json(self._note)
        old = self._named(note.get("inode")) if note.get("path") == self.path else None
        fd = self._open(self.path)
        if os.path.exists(self._fresh):
            os.unlink(self._fresh)
        if old is not None and old != self.path:
            source = os.open(old, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            move_line(source, fd)
            os.close(source)
        if note != self._noted(fd):
            self._remember(fd)
        return fd

    def _named(self, inode: object) -> str | None:
        with contextlib.suppress(OSError):
            if os.stat(self.path).st_ino == inode:
                return self.path
        directory, _, name = self.path.rpartition("/")
        with os.scandir(directory or ".") as entries:
            for entry in entries:
                named = entry.name.startswith(name) and entry.path != self._fresh
                if named and entry.inode() == inode:
                    return entry.path
        return None
