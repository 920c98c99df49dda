"""Reading log files from their end, and following them over rotation."""

from __future__ import annotations

import contextlib
import os

from process_supervisor.common.files import open_file

BLOCK = 1 << 16
LONGEST_LINE = 1 << 16
# An answer goes through the supervisor's memory, however long the lines are.
MOST_BYTES = 1 << 20


def text_of(line: bytes) -> str:
    """Return a line as text; a very long one is cut, for display only."""
    return line[:LONGEST_LINE].decode("utf-8", "replace")


def last_lines(path: str, count: int) -> list[str]:
    """Return the last lines of a log, continuing into path.1, path.2 … when it is short.

    At most a megabyte of each file is looked at.
    """
    found: list[str] = []
    for name in (path, *(f"{path}.{number}" for number in range(1, 100))):
        if len(found) >= count or (name != path and not os.path.exists(name)):
            break
        found = _last_lines_of(name, count - len(found), path) + found
        if sum(map(len, found)) > MOST_BYTES:
            break
    return found


def _last_lines_of(path: str, count: int, first: str) -> list[str]:
    try:
        # Who writes there may put anything in the place of a rotated file.
        with open(open_file(path, 0 if path == first else os.O_NOFOLLOW), "rb") as file:
            return [text_of(line) for line in _tail(file.fileno(), count)[1]]
    except OSError:
        return []


def _tail(fd: int, count: int) -> tuple[int, list[bytes]]:
    """Return the offset after, and the content of, the last count lines (bounded in bytes)."""
    size = os.fstat(fd).st_size
    begin, data = size, b""
    while begin > 0 and data.count(b"\n") <= count and len(data) < MOST_BYTES:
        step = min(BLOCK, begin)
        begin -= step
        data = os.pread(fd, step, begin) + data
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return size, lines[-count:] if count else []


def last_offset(fd: int, count: int) -> tuple[int, int]:
    """Return where the last count lines begin (bounded in bytes), and how many they are."""
    size, lines = _tail(fd, count)
    ended = not size or os.pread(fd, 1, size - 1) == b"\n"
    return size - sum(map(len, lines)) - len(lines) + (0 if ended or not lines else 1), len(lines)


class Follower:
    """Hands out a log's complete lines as they are written.

    It keeps its own place in the file, so a slow reader costs no memory. When it has read a file
    to its end and the path names another one, it goes on there.
    """

    def __init__(self, path: str, lines: int, at: tuple[int, int] | None = None) -> None:
        """Begin with the last lines, or at an inode and an offset where there is such a file."""
        self.path = path
        self._fd = open_file(path)
        self._partial = b""
        if at is not None:
            self._ready: list[bytes] = []
            self._offset, self.more = self._begin(*at), False
            return
        size, found = _tail(self._fd, lines)
        last = os.pread(self._fd, 1, size - 1) if size else b"\n"
        if last != b"\n" and found:
            self._partial = found.pop()
        self._offset = size
        self._ready = found
        self.more = False

    def read(self, most: int = 500) -> list[str]:
        """Return up to most new lines; `more` then says whether to ask again."""
        if not self._ready:
            self._fill()
        lines, self._ready = self._ready[:most], self._ready[most:]
        return [text_of(line) for line in lines]

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _begin(self, inode: int, offset: int) -> int:
        if os.fstat(self._fd).st_ino == inode:
            return offset
        with contextlib.suppress(OSError):
            # It was rotated since: what is left of it comes first.
            fd = open_file(f"{self.path}.1", os.O_NOFOLLOW)
            if os.fstat(fd).st_ino == inode:
                os.close(self._fd)
                self._fd = fd
                return offset
            os.close(fd)
        return 0

    def _fill(self) -> None:
        data = os.pread(self._fd, BLOCK, self._offset)
        if not data and self._moved_on():
            data = os.pread(self._fd, BLOCK, self._offset)
        self._offset += len(data)
        self.more = bool(data)
        *self._ready, self._partial = (self._partial + data).split(b"\n")

    def _moved_on(self) -> bool:
        """Go on in the file that the path names now; True when that changed anything."""
        if os.fstat(self._fd).st_size < self._offset:
            # Truncated: an unfinished line was moved to the next file, or the file was emptied.
            self._partial = b""
        try:
            fd = open_file(self.path)
        except OSError:
            return False
        if os.path.sameopenfile(fd, self._fd) and os.fstat(fd).st_size >= self._offset:
            os.close(fd)
            return False
        os.close(self._fd)
        self._fd, self._offset, self._partial = fd, 0, b""
        return True
