"""Just enough of the WebSocket protocol (RFC 6455) to answer what is sent with the same."""

from __future__ import annotations

import base64
import hashlib
from io import BufferedIOBase

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def accept(key: str) -> str:
    """Return what a server answers to a client's Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def read_frame(source: BufferedIOBase) -> tuple[int, bytes]:
    """Return kind and content of the next frame; a connection that ends is EOFError."""
    first, second = _read(source, 2)
    size = second & 0x7F
    if size >= 126:
        size = int.from_bytes(_read(source, 2 if size == 126 else 8), "big")
    mask = _read(source, 4) if second & 0x80 else bytes(4)
    content = _read(source, size)
    return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(content))


def frame(kind: int, content: bytes) -> bytes:
    """Return a whole message as one frame without a mask, as servers send it."""
    size = len(content)
    if size < 126:
        return bytes([0x80 | kind, size]) + content
    return bytes([0x80 | kind, 126]) + size.to_bytes(2, "big") + content


def echo(source: BufferedIOBase, target: BufferedIOBase) -> None:
    """Answer until the other side closes."""
    while True:
        kind, content = read_frame(source)
        answer = {PING: PONG}.get(kind, kind)
        target.write(frame(answer, content))
        target.flush()
        if kind == CLOSE:
            return


def _read(source: BufferedIOBase, size: int) -> bytes:
    found = source.read(size) if size else b""
    if len(found) < size:
        raise EOFError
    return found
