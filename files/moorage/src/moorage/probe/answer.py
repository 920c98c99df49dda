"""Reading an HTTP/1.1 answer piece by piece (RFC 9112 §6 and §7); nothing of it is kept."""

from __future__ import annotations

_HEAD_BYTES = 64 << 10
_LINE_BYTES = 4 << 10
_EXCERPT_BYTES = 160
_PEER_CHARACTERS = 64


class ProtocolError(Exception):
    """What came is no answer of HTTP/1.x; the message says what is wrong with it."""


class Answer:
    """One answer that is on its way.

    ``status`` is 0 until the head has come. ``reusable`` tells, once the answer is complete,
    whether the connection may carry another request. ``excerpt`` is the beginning of the body,
    ``peer`` who has answered, as far as the edge says it; ``late``: in its stead the edge has, as
    it did not in time.
    """

    def __init__(self, *, bodiless: bool) -> None:
        self.status = 0
        self.reusable = False
        self.excerpt = b""
        self.peer = ""
        self.late = False
        self.started = False
        self._bodiless = bodiless
        self._buffer = bytearray()
        self._remaining: int | None = None  # bytes of the body, or of the chunk with its CRLF
        self._chunked = False
        self._trailers = False

    def feed(self, data: bytes) -> bool:
        """Take what has come; return whether the answer is complete. Raises ProtocolError."""
        self.started = True
        self._buffer += data
        while not self.status:
            if not self._head():
                return False
        complete = self._chunks() if self._chunked else self._plain()
        if complete and self._buffer:
            self.reusable = False  # more than was asked for: who knows what it belongs to
        return complete

    def end(self) -> bool:
        """The connection was closed; return whether that is where the answer ends."""
        return bool(self.status) and not self._chunked and self._remaining is None

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _HEAD_BYTES:
                raise ProtocolError(f"the head of the answer is longer than {_HEAD_BYTES} bytes")
            if not b"HTTP/1.".startswith(self._buffer[:7]):
                raise ProtocolError(f"no answer of HTTP/1: {bytes(self._buffer[:40])!r}")
            return False
        first, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        version, _, rest = first.partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/1.") or not code.isdecimal() or len(code) != 3:
            raise ProtocolError(f"no status line of HTTP/1: {first[:60]!r}")
        # An interim answer (103 and the like) is followed by the real one; 101 is the last.
        if 100 <= int(code) < 200 and code != "101":
            return bool(self._buffer)
        self.status = int(code)
        self._framing(version, dict(_field(line) for line in lines))
        return True

    def _framing(self, version: str, fields: dict[str, str]) -> None:
        self.peer = fields.get("x-moorage-peer", "")[:_PEER_CHARACTERS]
        self.late = "x-moorage-late" in fields
        connection = fields.get("connection", "").lower()
        self.reusable = "close" not in connection and (
            version != "HTTP/1.0" or "keep-alive" in connection
        )
        if self._bodiless or self.status in (101, 204, 304):
            self._remaining = 0
            self.reusable = self.reusable and self.status != 101
        elif "chunked" in fields.get("transfer-encoding", "").lower():
            self._chunked, self._remaining = True, 0
        elif "content-length" in fields:
            length = fields["content-length"]
            if not length.isdecimal():
                raise ProtocolError(f"Content-Length is no number: {length[:40]!r}")
            self._remaining = int(length)
        else:
            self.reusable = False

    def _plain(self) -> bool:
        if self._remaining is None:
            self._take(len(self._buffer))
            return False
        self._remaining -= self._take(min(len(self._buffer), self._remaining))
        return self._remaining == 0

    def _chunks(self) -> bool:
        while True:
            if self._remaining:
                self._remaining -= self._take(min(len(self._buffer), self._remaining))
                if self._remaining:
                    return False
            end = self._buffer.find(b"\r\n")
            if end < 0:
                if len(self._buffer) > _LINE_BYTES:
                    raise ProtocolError("a line between chunks does not end")
                return False
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            if self._trailers:
                if not line:
                    return True
                continue
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError:
                raise ProtocolError(f"no size of a chunk: {line[:40]!r}") from None
            self._trailers = size == 0
            self._remaining = size + 2 if size else 0

    def _take(self, count: int) -> int:
        if len(self.excerpt) < _EXCERPT_BYTES:
            self.excerpt += bytes(self._buffer[: min(count, _EXCERPT_BYTES - len(self.excerpt))])
        del self._buffer[:count]
        return count


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise ProtocolError(f"no header field: {line[:60]!r}")
    return name.strip().lower(), value.strip()
