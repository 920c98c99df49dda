"""What visitors do: the kinds of requests of a load, and how often each comes.

Each kind checks the whole answer: status, length, checksum, every event, every echo. Addresses are
those of the application `harbour` (molecule/update/stacks).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from loadgen_wire import (
    CLOSE,
    TEXT,
    Answer,
    Connection,
    Pool,
    StaleError,
    WireError,
    request,
    websocket_key,
)

# How many of a hundred requests are of each kind; the rest are long and counted per second.
MIX = {"get-kept": 45, "get-fresh": 25, "version-kept": 20, "post-fresh": 5, "post-kept": 5}
LONG = ("download", "events", "websocket")
_BOUNDARY = "----harbour-load"
# Long against a switch and short against a test.
_DOWNLOAD_BYTES, _DOWNLOAD_SECONDS = 200_000, 1.2
_EVENTS, _EVENT_SECONDS = 6, 0.2
_ECHOES, _ECHO_SECONDS = 6, 0.2


class UnexpectedError(Exception):
    """An answer other than the right one; `kind` is `status` or `content`."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass
class Visit:
    """What is known of one request besides its end: who answered, and whether it was repeated."""

    version: str = ""
    retried: int = 0


@dataclass
class Visitors:
    """Everybody who visits one site."""

    host: str
    port: int
    mix: Mapping[str, int] = field(default_factory=lambda: MIX)
    long: Sequence[str] = LONG
    pool: Pool = field(init=False)
    pictures: list[tuple[str, bytes]] = field(init=False)

    def __post_init__(self) -> None:
        self.pool = Pool(self.host, self.port)
        # The same few each time, so that a site does not grow.
        source = random.Random(20)
        pictures = [source.randbytes(size) for size in (2_000, 8_000, 20_000, 40_000)]
        self.pictures = [(hashlib.sha256(p).hexdigest(), _multipart(p)) for p in pictures]

    def does(self, kind: str, number: int) -> Callable[[Visit], Awaitable[None]]:
        """Return what the visitor of this number does."""
        name, _, way = kind.partition("-")
        fresh = way == "fresh"
        if name == "get":
            return lambda visit: self._page(visit, "/", fresh)
        if name == "version":
            return lambda visit: self._page(visit, "/version", fresh)
        if name == "post":
            picture = self.pictures[number % len(self.pictures)]
            return lambda visit: self._upload(visit, *picture, fresh)
        return {"download": self._download, "events": self._events, "websocket": self._echo}[name]

    def close(self) -> None:
        """Let all connections go."""
        self.pool.close()

    async def _page(self, visit: Visit, path: str, fresh: bool) -> None:
        body = await self._exchange(visit, self._request("GET", path), 200, fresh, again=True)
        if not body:
            raise UnexpectedError("content", "an empty page")

    async def _upload(self, visit: Visit, digest: str, body: bytes, fresh: bool) -> None:
        kind = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        sent = self._request("POST", "/pictures", body, kind)
        said = json.loads(await self._exchange(visit, sent, 201, fresh, again=False))
        if said.get("sha256") != digest:
            raise UnexpectedError("content", f"another picture was kept: {said}")

    async def _exchange(
        self, visit: Visit, sent: bytes, status: int, fresh: bool, *, again: bool
    ) -> bytes:
        connection = await (self._fresh() if fresh else self.pool.take())
        try:
            try:
                answer = await connection.ask(sent)
            except StaleError:
                connection.close()
                if not again:
                    raise ConnectionResetError("a kept connection was closed") from None
                visit.retried += 1
                connection = await self._fresh()
                answer = await connection.ask(sent)
            body = await connection.body(answer)
        except BaseException:
            connection.close()
            raise
        if fresh:
            connection.close()
        else:
            self.pool.give_back(connection, answer)
        _expect(visit, answer, status, body)
        return body

    async def _download(self, visit: Visit) -> None:
        path = f"/slow?size={_DOWNLOAD_BYTES}&seconds={_DOWNLOAD_SECONDS}"
        body = await self._exchange(visit, self._request("GET", path), 200, True, again=False)
        if body != b"h" * _DOWNLOAD_BYTES:
            raise UnexpectedError("content", f"{len(body)} of {_DOWNLOAD_BYTES} bytes")

    async def _events(self, visit: Visit) -> None:
        path = f"/events?count={_EVENTS}&every={_EVENT_SECONDS}"
        connection = await self._fresh()
        try:
            answer = await connection.ask(self._request("GET", path))
            body = await connection.body(answer)
        finally:
            connection.close()
        _expect(visit, answer, 200, body)
        if body.count(b"data:") != _EVENTS + 1 or not body.endswith(b"data: end\n\n"):
            raise UnexpectedError("content", f"a stream that ends with {body[-60:]!r}")

    async def _echo(self, visit: Visit) -> None:
        connection = await self._fresh()
        try:
            key, wanted = websocket_key()
            upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
            upgrade |= {"Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"}
            answer = await connection.ask(self._request("GET", "/echo", headers=upgrade))
            _expect(visit, answer, 101, b"")
            if answer.headers.get("sec-websocket-accept") != wanted:
                raise UnexpectedError("content", "a handshake with another key")
            for number in range(_ECHOES):
                await _echoed(connection, TEXT, f"echo {number}".encode())
                await asyncio.sleep(_ECHO_SECONDS)
            await _echoed(connection, CLOSE, b"\x03\xe8")
        finally:
            connection.close()

    def _request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> bytes:
        return request(method, path, f"{self.host}:{self.port}", body, headers)

    async def _fresh(self) -> Connection:
        return await Connection.to(self.host, self.port)


async def _echoed(connection: Connection, kind: int, content: bytes) -> None:
    await connection.send_frame(kind, content)
    seen = await connection.read_frame()
    if seen != (kind, content):
        raise WireError(f"{content!r} was sent, {seen!r} came back")


def _expect(visit: Visit, answer: Answer, status: int, body: bytes) -> None:
    visit.version = answer.headers.get("x-harbour-version", "")
    if answer.status != status:
        text = body[:120].decode("utf-8", "replace").strip()
        raise UnexpectedError("status", f"{answer.status} {text}")


def _multipart(picture: bytes) -> bytes:
    head = (
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="picture"; filename="picture.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    )
    return head.encode() + picture + f"\r\n--{_BOUNDARY}--\r\n".encode()
