"""The edge's control socket: one JSON question and its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moorage.common import unixhttp
from moorage.edge.errors import EdgeError

_TIMEOUT_SECONDS = 5.0
_ANSWER_BYTES = 16 << 20
_POLL_SECONDS = 0.01


def ask(path: Path, question: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Send ``question`` (edge.lua, `control`) and return the answer; EdgeError when none comes."""
    body = json.dumps(question or {}).encode()
    request = unixhttp.request_bytes("POST", "/", body, version="1.0")
    try:
        answer = unixhttp.ask(str(path), request, timeout=_TIMEOUT_SECONDS, limit=_ANSWER_BYTES)
        if answer.status != 200:
            said = answer.body.decode("utf-8", "replace").strip()
            raise EdgeError(f"the edge answers at {path}: {answer.status} {said}")
        found: dict[str, Any] = answer.json()
    except unixhttp.ConnectionFailed as error:
        raise EdgeError(f"the edge does not answer: {error}") from error
    return found
