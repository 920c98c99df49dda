"""A steady load on tg2em: visitors of the site and of its pictures; loadgen.py says how it is sent.

They know (`--known`) where pictures are (`pictures_port`), the `password` for sending some, and the
`cookies` of somebody who has signed in and looks at the panel.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from loadgen import main
from loadgen_kinds import UnexpectedError, Visit, Visitors
from loadgen_wire import Answer, Connection

# How many of a hundred short requests are of each kind.
# Few send pictures: tgstate takes 32 at once, and writes each to the disk before it answers.
MIX = {
    "page-kept": 12,
    "page-fresh": 8,
    "live-kept": 22,
    "live-fresh": 13,
    "picture-kept": 25,
    "picture-fresh": 13,
    "post-kept": 4,
    "post-fresh": 3,
}
LONG = ("download", "events")
# A stack that tells which build of it answers has this in its pages (checkout.py).
_BUILD = re.compile(rb'<meta name="build" content="([^"]+)">')
_BOUNDARY = "----tg2em-load"
_DOWNLOAD_BYTES, _DOWNLOAD_SECONDS = 1_500_000, 2.0
# One comes every two seconds, and later where many want the processors.
_EVENTS, _EVENTS_SECONDS = 3, 30.0


class Site(Visitors):
    """Visitors of the front end."""

    def __init__(self, host: str, port: int, cookies: str) -> None:
        super().__init__(host, port)
        self._cookies = cookies

    async def page(self, visit: Visit, *, fresh: bool) -> None:
        """Look at the front page; it has to be whole."""
        body = await self._exchange(visit, self._request("GET", "/"), 200, fresh, again=True)
        if b"</html>" not in body:
            raise UnexpectedError("content", f"a page that ends with {body[-60:]!r}")
        found = _BUILD.search(body)
        visit.version = found[1].decode() if found else ""

    async def live(self, visit: Visit, *, fresh: bool) -> None:
        """Ask whether it is alive."""
        sent = self._request("GET", "/health/live")
        await self._exchange(visit, sent, 200, fresh, again=True)

    async def events(self, visit: Visit) -> None:
        """Look at the panel's services as they change, until some events have come.

        The front end may end a stream when it stops: a browser then opens it anew. What it must
        not do is break off in the middle of one, or refuse the next.
        """
        headers = {"Cookie": self._cookies, "Accept": "text/event-stream"}
        connection = await self._fresh()
        try:
            answer = await connection.ask(
                self._request("GET", "/admin/services/live", headers=headers)
            )
            _expect(answer, 200)
            said = b""
            async with asyncio.timeout(_EVENTS_SECONDS):
                async for piece in connection.pieces(answer):
                    said += piece
                    if said.count(b"event: services") >= _EVENTS and said.endswith(b"\n\n"):
                        break
        finally:
            connection.close()
        if not said.startswith(b"retry:") or not said.endswith(b"\n\n"):
            raise UnexpectedError("content", f"a stream of {said[:60]!r} … {said[-60:]!r}")
        for line in said.split(b"\n"):
            if line.startswith(b"data:") and not json.loads(line[5:])["services"]:
                raise UnexpectedError("content", f"the panel knows no services: {line!r}")


class Pictures(Visitors):
    """Visitors of the image service, who know its password."""

    def __init__(self, host: str, port: int, password: str) -> None:
        super().__init__(host, port)
        self._password = password
        # The same few each time, so that what is kept does not grow.
        source = random.Random(75)
        contents = [source.randbytes(size) for size in (2_000, 8_000, 20_000, 40_000)]
        self._contents = [b"\x89PNG\r\n\x1a\n" + content for content in contents]
        self._large = source.randbytes(_DOWNLOAD_BYTES)
        self._paths: dict[str, str] = {}

    async def upload(self, visit: Visit, number: int, *, fresh: bool) -> None:
        """Send a picture; what is kept has the address that it had the first time."""
        content = self._contents[number % len(self._contents)]
        path = await self._send(visit, content, fresh)
        known = self._paths.setdefault(hashlib.sha256(content).hexdigest(), path)
        if path != known:
            raise UnexpectedError("content", f"the same picture is {path} now, and was {known}")

    async def picture(self, visit: Visit, number: int, *, fresh: bool) -> None:
        """Fetch a picture; it is the one that was sent."""
        content = self._contents[number % len(self._contents)]
        sent = self._request("GET", await self._path(content))
        body = await self._exchange(visit, sent, 200, fresh, again=True)
        if body != content:
            raise UnexpectedError("content", f"{len(body)} bytes of {len(content)}, or others")

    async def download(self, visit: Visit) -> None:
        """Fetch something large, slowly."""
        connection = await Connection.to(self.host, self.port)
        try:
            answer = await connection.ask(self._request("GET", await self._path(self._large)))
            _expect(answer, 200)
            total = hashlib.sha256()
            async for piece in connection.pieces(answer):
                total.update(piece)
                await asyncio.sleep(_DOWNLOAD_SECONDS * len(piece) / _DOWNLOAD_BYTES)
        finally:
            connection.close()
        if total.digest() != hashlib.sha256(self._large).digest():
            raise UnexpectedError("content", "another file than the one that was sent")

    async def _path(self, content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        if name not in self._paths:
            path = await self._send(Visit(), content, fresh=True)
            self._paths.setdefault(name, path)
        return self._paths[name]

    async def _send(self, visit: Visit, content: bytes, fresh: bool) -> str:
        headers = {
            "Authorization": f"Bearer {self._password}",
            "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
        }
        sent = self._request("POST", "/api", _multipart(content), headers)
        said = json.loads(await self._exchange(visit, sent, 200, fresh, again=False))
        if said.get("code") != 1 or not str(said.get("message")).startswith("/d/"):
            raise UnexpectedError("content", f"it was not kept: {said}")
        return str(said["message"])


class Tg2em:
    """Everybody who visits tg2em."""

    mix, long = MIX, LONG

    def __init__(self, host: str, port: int, known: Mapping[str, Any]) -> None:
        self._site = Site(host, port, known["cookies"])
        self._pictures = Pictures(host, known["pictures_port"], known["password"])

    def does(self, kind: str, number: int) -> Callable[[Visit], Awaitable[None]]:
        """Return what the visitor of this number does."""
        name, _, way = kind.partition("-")
        fresh = way == "fresh"
        return {
            "page": lambda visit: self._site.page(visit, fresh=fresh),
            "live": lambda visit: self._site.live(visit, fresh=fresh),
            "events": self._site.events,
            "picture": lambda visit: self._pictures.picture(visit, number, fresh=fresh),
            "post": lambda visit: self._pictures.upload(visit, number, fresh=fresh),
            "download": self._pictures.download,
        }[name]

    def close(self) -> None:
        """Let all connections go."""
        self._site.close()
        self._pictures.close()


def _expect(answer: Answer, status: int) -> None:
    if answer.status != status:
        raise UnexpectedError("status", str(answer.status))


def _multipart(picture: bytes) -> bytes:
    head = (
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="image"; filename="picture.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    )
    return head.encode() + picture + f"\r\n--{_BOUNDARY}--\r\n".encode()


if __name__ == "__main__":
    main(Tg2em)
