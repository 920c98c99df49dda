"""The Docker engine's API, as far as both of our ways to it share it: its version and framing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from moorage.common.unixhttp import ConnectionFailed, ask, request_bytes

SOCKET = "/run/docker.sock"
# The newest version whose answers our calls were tried with; older engines are asked in theirs.
NEWEST = (1, 47)
_VERSION = re.compile(r"1\.[0-9]{2}")
_PONG_BYTES = 1024


def prefix(path: str, seconds: float) -> str:
    """Return what the engine's paths begin with; raises ConnectionFailed."""
    request = request_bytes("GET", "/_ping", version="1.0")
    pong = ask(path, request, timeout=seconds, limit=_PONG_BYTES)
    told = pong.headers.get("api-version", "")
    if not _VERSION.fullmatch(told):
        raise ConnectionFailed(f"{path}: not an engine's answer")
    major, minor = min((1, int(told[2:])), NEWEST)
    return f"/v{major}.{minor}"


def split_frames(pieces: Iterator[bytes | None], terminal: bool) -> Iterator[tuple[int, bytes]]:
    """Take the engine's framing apart: (1 stdout, 2 stderr, 0 nothing came, bytes).

    A container with a terminal has no frames: all of it is standard output.
    """
    buffer = b""
    for piece in pieces:
        if piece is None:
            yield 0, b""
        elif terminal:
            yield 1, piece
        else:
            buffer += piece
            begin = 0
            while len(buffer) >= begin + 8:
                end = begin + 8 + int.from_bytes(buffer[begin + 4 : begin + 8], "big")
                if len(buffer) < end:
                    break
                yield buffer[begin], buffer[begin + 8 : end]
                begin = end
            buffer = buffer[begin:]
