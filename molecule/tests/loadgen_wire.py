"""What a load needs of HTTP/1.1 and WebSocket, over asyncio's sockets and nothing of the product.

A kept-alive connection that the server has closed while it was idle says so at the next request,
before any byte of an answer: a request that may be repeated is then sent once more on a fresh
connection (RFC 9110, section 9.2.2), and counted as retried.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE = 1, 8


class WireError(Exception):
    """An answer that is not HTTP, or not whole."""


class StaleError(Exception):
    """A kept connection that was closed before it brought the first byte of an answer."""


@dataclass
class Answer:
    """The head of an answer; header names are in lower case."""

    status: int
    headers: dict[str, str]


@dataclass
class Connection:
    """One connection to a server, and how many answers it has brought."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    answers: int = 0

    @classmethod
    async def to(cls, host: str, port: int) -> Connection:
        """Connect."""
        return cls(*await asyncio.open_connection(host, port))

    @property
    def usable(self) -> bool:
        """Whether the other side, for all that is known, has not closed it."""
        return not (self.reader.at_eof() or self.writer.is_closing() or self.reader.exception())

    def close(self) -> None:
        """Let it go."""
        self.writer.close()

    async def ask(self, request: bytes) -> Answer:
        """Send a whole request and return the head of the answer."""
        used = self.answers > 0
        try:
            self.writer.write(request)
            first = await self.reader.readline()
        except ConnectionError:
            if used:
                raise StaleError from None
            raise
        if not first and used:
            raise StaleError
        if not first:
            raise ConnectionResetError("closed without an answer")
        lines = [first, *[line async for line in self._head()]]
        self.answers += 1
        return _parsed(lines)

    async def body(self, answer: Answer) -> bytes:
        """Return the whole body of an answer."""
        return b"".join([piece async for piece in self.pieces(answer)])

    async def pieces(self, answer: Answer) -> AsyncIterator[bytes]:
        """Yield a body as it comes; one that ends early is a WireError."""
        if "chunked" in answer.headers.get("transfer-encoding", ""):
            while size := int((await self._line()).split(b";")[0], 16):
                yield (await self.reader.readexactly(size + 2))[:-2]
            while await self._line():
                pass
        elif "content-length" in answer.headers:
            left = int(answer.headers["content-length"])
            while left:
                piece = await self.reader.read(min(left, 65536))
                if not piece:
                    raise WireError(f"the answer ends {left} bytes early")
                left -= len(piece)
                yield piece
        elif answer.status not in (204, 304):
            while piece := await self.reader.read(65536):
                yield piece

    async def send_frame(self, kind: int, content: bytes) -> None:
        """Send a WebSocket message of fewer than 126 bytes, masked as a client must."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(content))
        self.writer.write(bytes([0x80 | kind, 0x80 | len(content)]) + mask + masked)
        await self.writer.drain()

    async def read_frame(self) -> tuple[int, bytes]:
        """Return kind and content of a WebSocket message of fewer than 126 bytes."""
        head = await self.reader.readexactly(2)
        return head[0] & 0x0F, await self.reader.readexactly(head[1] & 0x7F)

    async def _head(self) -> AsyncIterator[bytes]:
        while line := await self._line():
            yield line

    async def _line(self) -> bytes:
        line = await self.reader.readline()
        if not line.endswith(b"\n"):
            raise WireError(f"the answer ends within its head: {line[:80]!r}")
        return line.strip()


@dataclass
class Pool:
    """Connections that are kept alive, used in turn, and closed after ``idle_seconds``."""

    host: str
    port: int
    idle_seconds: float = 5.0
    _idle: list[tuple[float, Connection]] = field(default_factory=list)

    async def take(self) -> Connection:
        """Return an idle connection, or a fresh one."""
        while self._idle:
            since, connection = self._idle.pop(0)
            if connection.usable and time.monotonic() - since < self.idle_seconds:
                return connection
            connection.close()
        return await Connection.to(self.host, self.port)

    def give_back(self, connection: Connection, answer: Answer) -> None:
        """Keep a connection whose answer was read to its end, unless the server will close it."""
        if answer.headers.get("connection", "").lower() == "close" or not connection.usable:
            connection.close()
        else:
            self._idle.append((time.monotonic(), connection))

    def close(self) -> None:
        """Let all go."""
        for _, connection in self._idle:
            connection.close()
        self._idle.clear()


def request(
    method: str, path: str, host: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    """Return a whole request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "User-Agent: load", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def websocket_key() -> tuple[str, str]:
    """Return a key for a handshake, and what a server has to answer to it."""
    key = base64.b64encode(os.urandom(16))
    return key.decode(), base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()


def _parsed(lines: list[bytes]) -> Answer:
    words = lines[0].decode("latin-1").split(None, 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise WireError(f"no HTTP answer: {lines[0][:80]!r}")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return Answer(int(words[1]), headers)
