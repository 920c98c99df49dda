"""Lines out of what the engine gives of a container's log."""

from collections import deque
from collections.abc import Iterator

from moorage.control.contract import Stream
from moorage.control.engine import Engine, split_frames

# A line is cut here, and a tail holds no more than this.
_LINE_BYTES = 16 << 10
_TAIL_BYTES = 2 << 20
_STREAMS: dict[Stream, int] = {"stdout": 1, "stderr": 2}


class _Lines:
    """Puts lines together out of pieces that end anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        *complete, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LINE_BYTES:
            complete.append(self._rest)
            self._rest = b""
        return [_text(line) for line in complete]

    def end(self) -> list[str]:
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


def tail(engine: Engine, container: str, terminal: bool, stream: Stream, lines: int) -> list[str]:
    """Return the last lines of one stream.

    The engine counts the lines of both streams, so it is asked for more until there are enough.
    """
    found: deque[str] = deque()
    for asked in (lines, lines * 4, lines * 16):
        found, seen = _tail(engine, container, terminal, stream, lines, asked)
        if len(found) == lines or seen < asked:
            break
    return list(found)


def _tail(
    engine: Engine, container: str, terminal: bool, stream: Stream, lines: int, asked: int
) -> tuple[deque[str], int]:
    found: deque[str] = deque()
    each = {1: _Lines(), 2: _Lines()}
    size = seen = 0

    def take(number: int, some: list[str]) -> None:
        nonlocal size, seen
        seen += len(some)
        for line in some if number == _STREAMS[stream] else ():
            found.append(line)
            size += len(line)
            while len(found) > lines or size > _TAIL_BYTES:
                size -= len(found.popleft())

    for number, data in split_frames(iter(engine.logs(container, asked)), terminal):
        if number in each:
            take(number, each[number].feed(data))
    for number, rest in each.items():
        take(number, rest.end())
    return found, seen


def follow(
    engine: Engine,
    container: str,
    terminal: bool,
    stream: Stream,
    lines: int | None,
    since_ns: int,
    quiet: float,
) -> Iterator[str | None]:
    """Give one stream's lines as they come until the container ends; None after quiet seconds."""
    mine = _Lines()
    pieces = engine.follow(container, lines, since_ns, quiet)
    for number, data in split_frames(pieces, terminal):
        if not number:
            yield None
        elif number == _STREAMS[stream]:
            yield from mine.feed(data)
    yield from mine.end()


def _text(line: bytes) -> str:
    return line[:_LINE_BYTES].removesuffix(b"\r").decode("utf-8", "replace")
