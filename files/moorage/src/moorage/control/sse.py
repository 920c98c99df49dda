"""Server-sent events, as the control API sends them."""

import json
from collections.abc import Iterator

from moorage.control.contract import ControlError

RETRY = b"retry: 2000\n\n"
ALIVE = b": alive\n\n"


def message(event: str, content: object) -> bytes:
    """Return one server-sent event; JSON keeps line breaks out of it."""
    return f"event: {event}\ndata: {json.dumps(content)}\n\n".encode("ascii")


def log_stream(lines: Iterator[str | None]) -> Iterator[bytes]:
    """Turn a followed log into events: `line` for each, `problem` when it breaks off."""
    yield RETRY
    try:
        for line in lines:
            yield ALIVE if line is None else message("line", line)
    except ControlError as error:
        yield message("problem", dict(error.to_problem()))
    finally:
        close = getattr(lines, "close", None)
        if close is not None:
            close()
