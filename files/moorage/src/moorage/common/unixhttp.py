"""A small HTTP client over a Unix socket: for the engine, the control API and the edge.

http.client would bring ssl and the parser of electronic mail into a process that needs neither:
six megabytes, and 16 ms to import. A request names its whole content here, so nothing of another
request gets in. Also a module of the survey, so Python 3.9 reads it.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

_MAX_HEAD = 16384
_CHUNK = 65536
_BEGIN = b"HTTP/1."


class ConnectionFailed(Exception):
    """Nobody answers at the socket, or the answer breaks off or is none of HTTP."""


class TimedOut(ConnectionFailed):
    """The answer did not come in time."""


class NotHttp(ConnectionFailed):
    """Somebody answers, and not in HTTP."""


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body's content; raises ConnectionFailed when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise ConnectionFailed(f"the answer is not JSON: {error}") from None


class Exchange:
    """One request and its answer, the body as it comes. A context manager."""

    def __init__(
        self,
        path: str,
        request: bytes,
        *,
        timeout: float,
        connection: socket.socket | None = None,
    ) -> None:
        """Connect, send the request and read the answer's head, all within `timeout` seconds.

        A `connection` that is there already is used and not made.
        """
        self._path = path
        self._deadline: float | None = time.monotonic() + timeout
        self.connection = connection or socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = b""
        try:
            self._limit()
            if connection is None:
                self.connection.connect(path)
            self.connection.sendall(request)
            self.status, self.headers = self._read_head()
        except OSError as error:
            self.close()
            raise self._failed(error) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self.connection.close()

    def read(self, limit: int) -> bytes:
        """Return the whole body; raises ConnectionFailed beyond `limit` or when it breaks off."""
        if self.headers.get("transfer-encoding") == "chunked":
            return self._read_chunks(limit)
        length = self.headers.get("content-length")
        if length is None:
            parts, size, data = list[bytes](), 0, self._buffer
            while data or (data := self._receive()):
                parts.append(data)
                size += len(data)
                self._bound(size, limit)
                data = b""
            return b"".join(parts)
        if not length.isdecimal():
            raise self._not_http()
        self._bound(int(length), limit)
        return self._take(int(length))

    @property
    def lasts(self) -> bool:
        """Whether the connection takes another request after the answer was read (RFC 9112 §9)."""
        bounded = {"content-length", "transfer-encoding"} & set(self.headers)
        return bool(bounded) and self.headers.get("connection", "").lower() != "close"

    def _read_chunks(self, limit: int) -> bytes:
        """Return a body in pieces, each after its length (RFC 9112 §7.1); without trailers."""
        parts: list[bytes] = []
        size = 0
        while True:
            while b"\r\n" not in self._buffer:
                if len(self._buffer) > _MAX_HEAD:
                    raise self._not_http()
                self._more()
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            try:
                length = int(line.partition(b";")[0], 16)
            except ValueError:
                raise self._not_http() from None
            size += length
            self._bound(size, limit)
            parts.append(self._take(length + 2)[:-2])
            if not length:
                return b"".join(parts)

    def _take(self, size: int) -> bytes:
        parts, there = [self._buffer], len(self._buffer)
        while there < size:
            self._buffer = b""
            self._more()
            parts.append(self._buffer)
            there += len(self._buffer)
        whole = b"".join(parts)
        self._buffer = whole[size:]
        return whole[:size]

    def _more(self) -> None:
        data = self._receive()
        if not data:
            raise ConnectionFailed(f"{self._path}: the answer breaks off")
        self._buffer += data

    def _bound(self, size: int, limit: int) -> None:
        if not 0 <= size <= limit:
            raise ConnectionFailed(f"{self._path}: the answer is longer than {limit} bytes")

    def stream(self, quiet: float) -> Iterator[bytes | None]:
        """Give what comes as it comes; None after `quiet` seconds without anything."""
        if self._buffer:
            yield self._buffer
        self._deadline = None
        self.connection.settimeout(quiet)
        while True:
            try:
                data = self.connection.recv(_CHUNK)
            except TimeoutError:
                yield None
                continue
            except OSError as error:
                raise self._failed(error) from error
            if not data:
                return
            yield data

    def _limit(self) -> None:
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no answer in time")
            self.connection.settimeout(left)

    def _receive(self) -> bytes:
        try:
            self._limit()
            return self.connection.recv(_CHUNK)
        except OSError as error:
            raise self._failed(error) from error

    def _read_head(self) -> tuple[int, dict[str, str]]:
        while b"\r\n\r\n" not in self._buffer:
            data = self._receive()
            if not data and not self._buffer:
                raise ConnectionFailed(f"{self._path}: closed without an answer")
            self._buffer += data
            # Told by its first signs: who speaks something else may keep the connection open.
            strange = not self._buffer.startswith(_BEGIN[: len(self._buffer)])
            # The body may come with it: only the head is bounded here.
            endless = b"\r\n\r\n" not in self._buffer[: _MAX_HEAD + 4]
            if strange or not data or (endless and len(self._buffer) > _MAX_HEAD):
                raise self._not_http()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[1].isdigit():
            raise self._not_http()
        pairs = (line.partition(":") for line in lines)
        return int(words[1]), {name.lower(): value.strip() for name, _, value in pairs}

    def _not_http(self) -> NotHttp:
        return NotHttp(f"{self._path}: the answer is none of HTTP")

    def _failed(self, error: OSError) -> ConnectionFailed:
        if isinstance(error, TimeoutError):
            return TimedOut(f"{self._path}: no answer in time")
        return ConnectionFailed(f"{self._path}: {error.strerror or error}")


class Kept:
    """A connection that takes one question after the other; threads share it."""

    def __init__(self, path: str) -> None:
        """Use the socket at this path; nothing is connected yet."""
        self._path = path
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    def ask(self, request: bytes, *, timeout: float, limit: int) -> Answer:
        """Return the answer to a request that may be sent twice; raises ConnectionFailed.

        A server closes a connection on which nobody has asked for a while, or as it ends.
        """
        with self._lock:
            if self._connection is not None:
                try:
                    return self._once(request, timeout, limit)
                except TimedOut:
                    raise
                except ConnectionFailed:
                    pass
            return self._once(request, timeout, limit)

    def close(self) -> None:
        """Let go of the connection; the next question makes another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _once(self, request: bytes, timeout: float, limit: int) -> Answer:
        kept, self._connection = self._connection, None
        with ExitStack() as stack:
            call = stack.enter_context(
                Exchange(self._path, request, timeout=timeout, connection=kept)
            )
            answer = Answer(call.status, call.headers, call.read(limit))
            if call.lasts:
                stack.pop_all()
                self._connection = call.connection
        return answer


def ask(path: str, request: bytes, *, timeout: float, limit: int) -> Answer:
    """Return a complete answer of `limit` bytes at most; raises ConnectionFailed."""
    with Exchange(path, request, timeout=timeout) as call:
        return Answer(call.status, call.headers, call.read(limit))


def request_bytes(
    method: Literal["GET", "POST"],
    target: str,
    body: bytes | None = None,
    *,
    version: Literal["1.0", "1.1"] = "1.1",
) -> bytes:
    """Return a request; in HTTP/1.0 a server answers without transfer codings."""
    lines = [f"{method} {target} HTTP/{version}", "Host: control"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (body or b"")
