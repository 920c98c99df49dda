"""A small HTTP client over a Unix socket: for the engine, the control API and the edge.

http.client would bring ssl and the parser of electronic mail into a process that needs neither:
six megabytes, and 16 ms to import. A request names its whole content here, so nothing of another
request gets in. Also a module of the survey, so Python 3.9 reads it.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
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
    ) -> None:
        """Connect, send the request and read the answer's head, all within `timeout` seconds."""
        self._path = path
        self._deadline: float | None = time.monotonic() + timeout
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = b""
        try:
            self._limit()
            self._socket.connect(path)
            self._socket.sendall(request)
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
        self._socket.close()

    def read(self, limit: int) -> bytes:
        """Return the whole body; raises ConnectionFailed beyond `limit` or when it breaks off."""
        parts = [self._buffer]
        size = len(self._buffer)
        wanted = int(self.headers.get("content-length", -1))
        while size != wanted:
            data = self._receive()
            if not data:
                break
            parts.append(data)
            size += len(data)
            if size > limit:
                raise ConnectionFailed(f"{self._path}: the answer is longer than {limit} bytes")
        if wanted not in (-1, size):
            raise ConnectionFailed(f"{self._path}: the answer breaks off")
        return b"".join(parts)

    def stream(self, quiet: float) -> Iterator[bytes | None]:
        """Give what comes as it comes; None after `quiet` seconds without anything."""
        if self._buffer:
            yield self._buffer
        self._deadline = None
        self._socket.settimeout(quiet)
        while True:
            try:
                data = self._socket.recv(_CHUNK)
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
            self._socket.settimeout(left)

    def _receive(self) -> bytes:
        try:
            self._limit()
            return self._socket.recv(_CHUNK)
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
            if strange or not data or len(self._buffer) > _MAX_HEAD:
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
