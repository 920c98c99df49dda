"""Which version of the Docker engine's API is spoken with the engine at a socket."""

from __future__ import annotations

import re

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
