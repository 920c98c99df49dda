"""Lines out of what the engine gives of a container's log."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from moorage.common.dockerapi import split_frames
from moorage.control.contract import Stream
from moorage.control.docker_status import timestamp_ns
from moorage.control.engine import Engine

# A line is cut here (where the engine itself cuts it in two), and a tail holds no more than this.
_LINE_BYTES = 16 << 10
_TAIL_BYTES = 2 << 20
_STREAMS: dict[Stream, tuple[int, ...]] = {"stdout": (1,), "stderr": (2,), "all": (1, 2)}


@dataclass(frozen=True)
class Line:
    """A line and when it was written, in nanoseconds since 1970; 0 where that is not known."""

    words: str
    at_ns: int

    @classmethod
    def of(cls, stamped: bytes) -> "Line":
        """Take a line of the engine apart, which begins with its time."""
        stamp, _, words = stamped.partition(b" ")
        at = timestamp_ns(stamp.decode("ascii", "replace"))
        return cls(_text(words if at else stamped), at or 0)

    def text(self, times: bool) -> str:
        """Return it as the contract has it."""
        if not times:
            return self.words
        return f"{iso(self.at_ns)} {self.words}" if self.at_ns else f"- {self.words}"


def iso(at_ns: int) -> str:
    """Return a time to the millisecond, in UTC."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_ns // 10**9))
    return f"{moment}.{at_ns // 10**6 % 1000:03d}Z"


@dataclass
class Tail:
    """The last lines of one stream, and when the last line of either was written."""

    lines: deque[Line] = field(default_factory=deque)
    last_ns: int = 0
    seen: int = 0
    size: int = 0

    def take(self, stamped: bytes, wanted: bool, most: int) -> None:
        """Take a line that begins with its time; keep it if it is of the stream."""
        self.seen += 1
        line = Line.of(stamped)
        self.last_ns = max(self.last_ns, line.at_ns)
        if wanted:
            self.lines.append(line)
            self.size += len(line.words)
            while len(self.lines) > most or self.size > _TAIL_BYTES:
                self.size -= len(self.lines.popleft().words)


class _Assembler:
    """Puts lines together out of pieces that end anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *complete, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > 2 * _LINE_BYTES:
            # The rest of a line that is longer is cut off anyway.
            self._rest = self._rest[: 2 * _LINE_BYTES]
        return complete

    def end(self) -> list[bytes]:
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


def tail(engine: Engine, container: str, terminal: bool, stream: Stream, lines: int) -> Tail:
    """Return the last lines of one stream.

    The engine counts the lines of both streams, so it is asked for more until there are enough.
    """
    found = Tail()
    for asked in (max(lines, 1), lines * 4, lines * 16):
        found = _tail(engine, container, terminal, stream, lines, asked)
        if len(found.lines) == lines or found.seen < asked:
            break
    return found


def _tail(
    engine: Engine, container: str, terminal: bool, stream: Stream, lines: int, asked: int
) -> Tail:
    found = Tail()
    each = {1: _Assembler(), 2: _Assembler()}
    for number, data in split_frames(iter(engine.logs(container, asked)), terminal):
        for line in each[number].feed(data) if number in each else ():
            found.take(line, number in _STREAMS[stream], lines)
    for number, rest in each.items():
        for line in rest.end():
            found.take(line, number in _STREAMS[stream], lines)
    return found


def follow(
    engine: Engine, container: str, terminal: bool, stream: Stream, since_ns: int, quiet: float
) -> Iterator[Line | None]:
    """Give one stream's lines as they come until the container ends; None after quiet seconds."""
    mine = {number: _Assembler() for number in _STREAMS[stream]}
    for number, data in split_frames(engine.follow(container, since_ns, quiet), terminal):
        if not number:
            yield None
        elif number in mine:
            yield from map(Line.of, mine[number].feed(data))
    for rest in mine.values():
        yield from map(Line.of, rest.end())


def _text(line: bytes) -> str:
    return line[:_LINE_BYTES].removesuffix(b"\r").decode("utf-8", "replace")
