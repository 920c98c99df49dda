"""The control protocol, version 1: one JSON object a line over a Unix stream socket.

Request   {"v": 1, "id": 7, "op": "stop", "args": {"name": "frontend"}}
Answer    {"v": 1, "id": 7, "ok": true, "result": ...}
Refusal   {"v": 1, "id": 7, "ok": false, "error": {"code": "not-found", "message": "..."}}
Stream    {"v": 1, "id": 7, "line": "..."} for `follow`, until either side closes
"""

from __future__ import annotations

import json

VERSION = 1
MAX_REQUEST = 64 * 1024
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class ControlError(Exception):
    """A refused or failed control request.

    Codes: bad-request, not-found, conflict, config, timeout, failed, internal (from the
    supervisor), unreachable, protocol (from the client).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def encode(message: dict[str, object]) -> bytes:
    """Return a message as one line."""
    return _ENCODER.encode({"v": VERSION, **message}).encode() + b"\n"


def decode(line: bytes) -> dict[str, object]:
    """Return the message that a line holds; raises ControlError(bad-request)."""
    try:
        message = json.loads(line)
    # A deeply nested array exhausts the parser's stack: that is a bad request as well.
    except (ValueError, RecursionError) as error:
        raise ControlError("bad-request", f"not a JSON line: {error}") from error
    if not isinstance(message, dict):
        raise ControlError("bad-request", "a request must be a JSON object")
    if message.get("v") != VERSION:
        raise ControlError(
            "bad-request", f"protocol version {message.get('v')!r} is not spoken here, only 1"
        )
    return message
