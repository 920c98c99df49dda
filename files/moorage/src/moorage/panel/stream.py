"""Server-sent events: streams that end by themselves and notice who has gone."""

import json
import threading
import time
from collections.abc import Callable, Iterator

from moorage.common.text import visible
from moorage.control import ControlError
from moorage.control.contract import split_time

CONTENT_TYPE = "text/event-stream"
# A browser opens the stream again by itself; ending it now and then frees a thread whose reader
# vanished without closing, and lets a signed-out reader's authorisation end.
MAX_SECONDS = 300.0


_ending = threading.Event()


def end_streams() -> None:
    """End every open stream within a second or so: the server is about to stop."""
    _ending.set()


def ending() -> bool:
    """Say whether the server is about to stop."""
    return _ending.is_set()


class Busy(Exception):
    """As many streams as may be open at once are open."""


class Slots:
    """A bound on open streams: each holds a thread of the server."""

    def __init__(self, limit: int) -> None:
        """Allow `limit` streams at once."""
        self._semaphore = threading.BoundedSemaphore(limit)

    def take(self) -> Callable[[], None]:
        """Take one slot and return what gives it back; raises Busy when there is none."""
        if not self._semaphore.acquire(blocking=False):
            raise Busy
        return self._semaphore.release


def message(event: str, data: object) -> str:
    """Return one event in the stream's format; JSON keeps line breaks out of it."""
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _line(line: str) -> str:
    at, text = split_time(line)
    return message("line", {"at": at, "text": visible(text)})


def log_events(
    lines: Iterator[str | None],
    *,
    max_seconds: float = MAX_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[str]:
    """Turn a followed log with times into events.

    `line` for each, with an empty time where it is not known, and `problem` when it breaks off.
    """
    end = clock() + max_seconds
    yield "retry: 2000\n\n"
    try:
        for line in lines:
            # A comment: it finds out whether the reader is still there.
            yield ": alive\n\n" if line is None else _line(line)
            if ending() or clock() >= end:
                return
    except ControlError as error:
        yield message("problem", {**error.to_problem(), "detail": visible(error.detail)})
    finally:
        close = getattr(lines, "close", None)
        if close is not None:
            close()
