"""When what was written to a log file: marks of a time and a place in it, kept in state_dir.

A line of the file is `BEGIN INODE OFFSET [END]`, times in seconds since 1970: what is in the file
from OFFSET to the next mark's was written between BEGIN and END, which is BEGIN + RESOLUTION where
it is not said. A file that is renamed keeps its inode.
"""

from __future__ import annotations

import contextlib
import os
import time

from process_supervisor.common.files import write_atomic

# A mark: its begin and end, an inode, an offset.
Mark = tuple[float, float, int, int]

RESOLUTION = 0.25
# Some 1,500 marks. Beyond it every two of the older half become one: the older, the less exact.
MOST_BYTES = 64 << 10


class Times:
    """The marks of one stream; only its last time is in memory. Trouble costs times, no output."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._last = 0.0

    def note(self, inode: int, offset: int) -> None:
        """Something was written at this place just now."""
        now = time.time()
        if 0 <= now - self._last < RESOLUTION:
            return
        self._last = now
        with contextlib.suppress(OSError):
            self._append(f"{now:.2f} {inode} {offset}\n".encode())

    def begin_anew(self) -> None:
        """Another file is written to: the next place is marked whenever it is."""
        self._last = 0.0

    def _append(self, line: bytes) -> None:
        os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(self.path, flags, 0o600)
        try:
            os.write(fd, line)
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        if size > MOST_BYTES:
            marks = parse(self.text())
            while len(text := "".join(map(line_of, marks))) > MOST_BYTES * 3 // 4:
                # Where each is of another file nothing can be made one.
                fewer = thinned(marks)
                marks = fewer if len(fewer) < len(marks) else marks[len(marks) // 4 + 1 :]
            write_atomic(self.path, text)

    def text(self) -> str:
        """Return all marks as they are in the file, nothing where there is none."""
        with contextlib.suppress(OSError), open(self.path, "rb") as file:
            return file.read(2 * MOST_BYTES).decode("ascii", "replace")
        return ""


def line_of(mark: Mark) -> str:
    """Return a mark as a line."""
    begin, end, inode, offset = mark
    last = f" {end:.2f}" if end > begin + RESOLUTION + 0.01 else ""
    return f"{begin:.2f} {inode} {offset}{last}\n"


def parse(text: str) -> list[Mark]:
    """Return the marks of a text; a line that was torn is none."""
    found: list[Mark] = []
    for line in text.splitlines():
        try:
            begin, inode, offset, *end = line.split()
            last = float(end[0]) if end else float(begin) + RESOLUTION
            found.append((float(begin), last, int(inode), int(offset)))
        except ValueError:
            continue
    return found


def thinned(marks: list[Mark]) -> list[Mark]:
    """Return the marks with every two of the older half as one, where both are of one file."""
    half = len(marks) // 2
    kept: list[Mark] = []
    single = False
    for begin, end, inode, offset in marks[:half]:
        last = kept[-1] if kept else None
        if single and last and last[2] == inode and last[3] <= offset:
            kept[-1] = (last[0], end, inode, last[3])
            single = False
        else:
            kept.append((begin, end, inode, offset))
            single = True
    return kept + marks[half:]
