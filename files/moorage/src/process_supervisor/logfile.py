"""A log file that is appended to, rotated and reopened without ever cutting a line.

Its only writer is the supervisor, which may be killed between any two system calls. A chunk goes
from FIFO to file in one splice(), so no byte is ever only in the supervisor's memory. Rotation
and reopening move the unfinished last line into the new file in steps that `recover` can finish.
"""

from __future__ import annotations

import errno
import json
import os

from process_supervisor.store import read_json, write_atomic

CHUNK = 1 << 20
# A line longer than this is not looked through for its start: the file then grows until it ends.
LONGEST_TAIL = 1 << 20


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


class LogFile:
    """One log file. `note` is a path in run_dir that records a move of a line in progress."""

    def __init__(self, path: str, note: str, max_bytes: int = 0, backups: int = 5) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.backups = backups
        self._note = note
        self._splices = True
        self._checked = 0
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        self.recover()
        self.fd = self._open(path)

    def take(self, pipe: int) -> int:
        """Append what a non-blocking pipe holds, up to a megabyte; return the number of bytes.

        0 means that the pipe is empty. Raises OSError (ENOSPC) with the data still in the pipe.
        """
        size = os.fstat(self.fd).st_size
        taken = self._move(pipe, size)
        if taken and self.max_bytes and size + taken >= max(self.max_bytes, self._checked):
            self._rotate_at_line(size + taken)
        return taken

    def reopen(self) -> None:
        """Continue in the file that `path` names now, after a log rotator moved the old one."""
        fd = self._open(self.path)
        if os.path.sameopenfile(fd, self.fd):
            os.close(fd)
            return
        size = os.fstat(self.fd).st_size
        start = line_start(self.fd, size)
        if start is not None and start < size and os.fstat(fd).st_size == 0:
            self._begin(start)
            write_all(fd, read_at(self.fd, start, size - start), 0)
            os.ftruncate(self.fd, start)
            self._finish()
        os.close(self.fd)
        self.fd = fd

    def recover(self) -> None:
        """Finish what a supervisor killed in the middle of a rotation or reopening began."""
        fresh = f"{self.path}.new"
        note = read_json(self._note)
        if note.get("path") == self.path:
            self._finish_move(fresh, int(note["inode"]), int(note["start"]))
            self._finish()
        if os.path.exists(fresh):
            os.unlink(fresh)

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)

    @staticmethod
    def _open(path: str) -> int:
        # Not O_APPEND: splice() refuses such a file.
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)

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
            self._checked = size + LONGEST_TAIL  # one endless line: look again later
            return
        self._checked = 0
        fresh = f"{self.path}.new"
        fd = self._open(fresh)
        os.ftruncate(fd, 0)
        write_all(fd, read_at(self.fd, start, size - start), 0)
        self._begin(start)
        self._shift()
        os.replace(fresh, self.path)
        os.ftruncate(self.fd, start)
        self._finish()
        os.close(self.fd)
        self.fd = fd

    def _shift(self) -> None:
        """Rename path to path.1, path.1 to path.2 and so on; the oldest goes."""
        for number in range(self.backups, 0, -1):
            older = f"{self.path}.{number - 1}" if number > 1 else self.path
            if os.path.exists(older):
                os.replace(older, f"{self.path}.{number}")

    def _begin(self, start: int) -> None:
        note = {"path": self.path, "start": start, "inode": os.fstat(self.fd).st_ino}
        write_atomic(self._note, json.dumps(note))

    def _finish(self) -> None:
        os.unlink(self._note)

    def _finish_move(self, fresh: str, inode: int, start: int) -> None:
        """Complete a noted move: the old file, wherever it is, ends where its last line began.

        Before the new file has the name, the old one is still whole and nothing was moved; the
        unfinished line is in the new file as soon as that bears the name.
        """
        old = self._named(inode)
        if old == self.path:
            return
        if os.path.exists(fresh) and not os.path.exists(self.path):
            os.replace(fresh, self.path)
        if old is None or os.path.getsize(old) <= start:
            return
        source, target = os.open(old, os.O_RDWR | os.O_CLOEXEC), self._open(self.path)
        # Writing the line's beginning once more does no harm: nothing can follow it yet.
        write_all(target, read_at(source, start, os.path.getsize(old) - start), 0)
        os.ftruncate(source, start)
        os.close(source)
        os.close(target)

    def _named(self, inode: int) -> str | None:
        directory, _, name = self.path.rpartition("/")
        with os.scandir(directory or ".") as entries:
            for entry in entries:
                if entry.name.startswith(name) and entry.inode() == inode:
                    return entry.path
        return None
