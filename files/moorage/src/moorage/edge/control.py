"""The edge's control socket: one JSON question and its answer."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moorage.edge.errors import EdgeError

_TIMEOUT_SECONDS = 5.0
_POLL_SECONDS = 0.01


def ask(path: Path, question: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Send ``question`` (edge.lua, `control`) and return the answer; EdgeError when none comes."""
    body = json.dumps(question or {}).encode()
    head = f"POST / HTTP/1.0\r\nHost: edge\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT_SECONDS)
            connection.connect(str(path))
            connection.sendall(head + body)
            with connection.makefile("rb") as stream:
                answer = stream.read()
    except OSError as error:
        raise EdgeError(f"the edge does not answer at {path}: {error}") from error
    status, _, rest = answer.partition(b"\r\n")
    content = rest.partition(b"\r\n\r\n")[2]
    if b" 200 " not in status + b" ":
        said = status.decode("latin-1") + " " + content.decode("utf-8", "replace").strip()
        raise EdgeError(f"the edge answers at {path}: {said}")
    try:
        found: dict[str, Any] = json.loads(content)
    except ValueError as error:
        raise EdgeError(f"the edge's answer at {path} cannot be read: {error}") from error
    return found


def wait_for(path: Path, generation: str, seconds: float) -> bool:
    """Wait until a worker of ``generation`` answers; False when none does within ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if ask(path)["generation"] == generation:
                return True
        except EdgeError:
            pass
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
