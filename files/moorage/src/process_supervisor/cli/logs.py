"""The logs of several processes as one, by the time at which each line was written.

The files are read here and not by the supervisor: however long they are, nobody else waits, and of
each one line is in memory at a time. The supervisor says which they are and, by its marks
(output/times.py), when what was written to them.
"""

from __future__ import annotations

import contextlib
import gzip
import heapq
import itertools
import os
import stat
import sys
import time
import zlib
from collections import deque

from process_supervisor.cli.words import is_group
from process_supervisor.common.openfiles import raise_limit
from process_supervisor.common.visible import visible
from process_supervisor.control.protocol import ControlError
from process_supervisor.output.tail import LONGEST_LINE, Follower, last_offset, text_of
from process_supervisor.output.times import RESOLUTION, Mark, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator
    from io import BufferedIOBase
    from types import SimpleNamespace

    from process_supervisor.control.client import Client

    # When a line was written (0: not known), whose it is, and what it says.
    Line = tuple[float, str, bytes]

PAUSE = 0.25
_BROKEN = (OSError, EOFError, zlib.error)


class File:
    """One log file, rotated or not, and the marks that are of it."""

    def __init__(self, path: str, fd: int) -> None:
        info = os.fstat(fd)
        self.path, self.inode, self.written = path, info.st_ino, info.st_mtime
        self.compressed = path.endswith(".gz")
        # Where reading it begins, and where it ended: at the start of a line.
        self.at = 0
        self.marks: list[Mark] = []
        self.content: BufferedIOBase = os.fdopen(fd, "rb")
        if self.compressed:
            self.content = gzip.GzipFile(fileobj=self.content)

    def choose(self, marks: list[Mark]) -> None:
        """Keep the marks of this file; one that was emptied in place begins anew."""
        for mark in marks:
            if mark[2] == self.inode:
                while self.marks and self.marks[-1][3] >= mark[3]:
                    self.marks.pop()
                self.marks.append(mark)

    def skip(self, count: int) -> int:
        """Begin with the last `count` lines; return how many there are."""
        if not self.compressed:
            self.at, found = last_offset(self.content.fileno(), count)
            return found
        starts: deque[int] = deque(maxlen=count)
        while line := self.content.readline(LONGEST_LINE):
            starts.append(self.at)
            self.at += len(line)
        self.at = starts[0] if starts else self.at
        return len(starts)

    def lines(self, since: float, last: bool) -> Iterator[tuple[float, bytes]]:
        """Yield the lines that were not written before `since`, and when.

        An unfinished one counts where it is the `last` that there will be. Of one that is longer
        than LONGEST_LINE only its beginning is kept.
        """
        with contextlib.closing(self.content) as content:
            content.seek(self.at)
            number, whole = -1, True
            while line := content.readline(LONGEST_LINE):
                begins, whole = whole, line.endswith(b"\n")
                if begins:
                    if not whole and len(line) < LONGEST_LINE and not last:
                        return
                    while number + 1 < len(self.marks) and self.marks[number + 1][3] <= self.at:
                        number += 1
                    begin, end = self._when(number)
                    if end >= since:
                        yield begin, line.rstrip(b"\n")
                self.at += len(line)

    def _when(self, number: int) -> tuple[float, float]:
        if number >= 0:
            return self.marks[number][0], self.marks[number][1] + RESOLUTION
        return 0.0, self.marks[0][1] if self.marks else self.written


class Source:
    """One stream of one process: its files, oldest first."""

    def __init__(self, label: str, path: str, times: str) -> None:
        self.label, self.path = label, path
        self.troubles = 0
        self._marks = parse(times)
        # Where to go on when it is followed.
        self.end: tuple[int, int] | None = None

    def lines(self, since: float, count: int | None, follow: bool) -> Iterator[Line]:
        """Yield lines, oldest first: all since then, or the last `count` of all."""
        found = self._files(since, count)
        latest = 0.0
        for number, file in enumerate(found):
            newest = number == len(found) - 1
            try:
                for at, line in file.lines(since, last=not (newest and follow)):
                    # In order for the merging, also where a clock was set back.
                    latest = max(latest, at)
                    yield latest, self.label, line
            except _BROKEN as error:
                self._tell(f"{file.path} ends in the middle: {error}")
            if newest:
                self.end = (file.inode, file.at)

    def _files(self, since: float, count: int | None) -> list[File]:
        """Open what is wanted, and see where in it to begin."""
        found: list[File] = []
        plain: set[int] = set()
        for path in names(self.path):
            file = self._open(path)
            if file is None or (found and (file.written < since or count == 0)):
                break
            found.append(file)
            if file.compressed:
                # It is another file than the one that was compressed; its last change was kept.
                older = [m for m in self._marks if m[0] <= file.written + 1 and m[2] not in plain]
                file.inode = max(older)[2] if older else 0
            plain.add(file.inode)
            file.choose(self._marks)
            if count is not None:
                count -= self._skip(file, count)
            elif not file.compressed:
                file.at = max((m[3] for m in file.marks if m[1] + RESOLUTION < since), default=0)
        return found[::-1]

    def _tell(self, text: str) -> None:
        self.troubles += 1
        print(f"process_supervisor: {visible(text)}", file=sys.stderr)

    def _skip(self, file: File, count: int) -> int:
        try:
            return file.skip(count)
        except _BROKEN:
            file.at = 0  # what there is of it is told when it is read
            return 0

    def _open(self, path: str) -> File | None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError as error:
            self._tell(f"{path}: {error.strerror}")
            return None
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return File(path, fd)
        os.close(fd)
        self._tell(f"{path} is no file")
        return None


def names(path: str) -> Iterator[str]:
    """Yield a log's files that there are, newest first: it, .1 or .1.gz, .2 or .2.gz …"""
    if os.path.lexists(path):
        yield path
    for number in itertools.count(1):
        found = [n for n in (f"{path}.{number}", f"{path}.{number}.gz") if os.path.lexists(n)]
        if not found:
            return
        yield found[0]


def only_one(names: list[str]) -> bool:
    """Say whether one process is named."""
    return len(names) == 1 and not is_group(names[0])


def named(client: Client, names: list[str]) -> Iterator[str]:
    """Yield the processes that are named, one by one or as groups, all where none is."""
    for name in names or [""]:
        if not name or is_group(name):
            yield from (item["name"] for item in client.status(name or None, usage=False))
        else:
            yield name


def sources(client: Client, arguments: argparse.Namespace | SimpleNamespace) -> list[Source]:
    """Return the logs that are meant: of several processes standard error as well."""
    found: dict[str, Source] = {}
    for name in named(client, arguments.names):
        logs = client.log_times(name)
        chosen = {name: logs.get("stdout")}
        if arguments.stderr:
            chosen = {name: logs.get("stderr") or logs.get("stdout")}
        elif not only_one(arguments.names):
            chosen[f"{name}/stderr"] = logs.get("stderr")
        for label, log in chosen.items():
            if log:
                # A file that several write to is read once.
                found.setdefault(log["path"], Source(label, log["path"], log["times"]))
    if not found:
        raise ControlError("conflict", "nothing of that is logged to a file")
    return list(found.values())


def show(client: Client, arguments: argparse.Namespace | SimpleNamespace, usual: int | None) -> int:
    """Print lines, of several logs each with whose it is; return how much could not be read.

    `usual` is how many of all, where the arguments do not say; None is all that are found.
    """
    follow, since, pattern = arguments.follow, arguments.since, arguments.grep
    count = usual if arguments.lines is None else max(0, arguments.lines)
    raise_limit()
    found = sources(client, arguments)
    width = max(len(source.label) for source in found) if not only_one(arguments.names) else 0
    tail = count if since is None and pattern is None else None

    def wanted(lines: Iterable[tuple[str, str]]) -> Iterator[str]:
        for label, text in lines:
            if pattern is None or pattern.search(text):
                yield (f"{label:{width}} | " if width else "") + visible(text)

    merged = heapq.merge(
        *(source.lines(since or 0.0, tail, follow) for source in found), key=lambda line: line[0]
    )
    texts: Iterable[str] = wanted((label, text_of(line)) for _, label, line in merged)
    for text in texts if count is None else deque(texts, count):
        print(text)
    sys.stdout.flush()
    if follow:
        _follow(found, wanted)
    return sum(source.troubles for source in found)


def _follow(
    sources: list[Source], wanted: Callable[[Iterable[tuple[str, str]]], Iterator[str]]
) -> None:
    followers: dict[str, Follower] = {}
    while True:
        quiet = True
        for source in sources:
            if source.path not in followers:
                try:
                    begin = source.end or (0, 0)
                    followers[source.path] = Follower(source.path, 0, begin)
                except OSError:
                    continue  # nothing was written yet
            follower = followers[source.path]
            lines = follower.read()
            quiet = quiet and not lines and not follower.more
            for text in wanted((source.label, line) for line in lines):
                print(text)
        sys.stdout.flush()
        if quiet:
            time.sleep(PAUSE)
