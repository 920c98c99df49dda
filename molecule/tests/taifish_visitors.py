"""A steady load on taifish: readers, and somebody who comments; loadgen.py says how it is sent.

They know (`--known`) a `post`, and the `cookies` of who has signed in, with the `token` of the
forms; without cookies nobody comments.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from loadgen import main
from loadgen_kinds import UnexpectedError, Visit, Visitors

# How many of a hundred requests are of each kind.
MIX = {
    "page-kept": 14,
    "page-fresh": 8,
    "posts-kept": 18,
    "posts-fresh": 10,
    "live-kept": 26,
    "live-fresh": 18,
    "comment-kept": 3,
    "comment-fresh": 3,
}
# A stack that tells which build of it answers has this in its pages (checkout.py).
_BUILD = re.compile(rb'<meta name="build" content="([^"]+)">')


class Taifish(Visitors):
    """Everybody who visits taifish."""

    def __init__(self, host: str, port: int, known: Mapping[str, Any]) -> None:
        super().__init__(host, port, MIX, ())
        self._post, self._token, self._cookies = known["post"], known["token"], known["cookies"]

    def does(self, kind: str, number: int) -> Callable[[Visit], Awaitable[None]]:
        """Return what the visitor of this number does."""
        name, _, way = kind.partition("-")
        fresh = way == "fresh"
        if name == "comment" and self._cookies:
            return lambda visit: self._comment(visit, number, fresh)
        if name in ("page", "comment"):
            return lambda visit: self._look(visit, fresh)
        path = {"posts": "/api/posts?limit=5", "live": "/health/live"}[name]
        return lambda visit: self._page(visit, path, fresh)

    async def _look(self, visit: Visit, fresh: bool) -> None:
        body = await self._exchange(visit, self._request("GET", "/"), 200, fresh, again=True)
        if b"</html>" not in body:
            raise UnexpectedError("content", f"a page that ends with {body[-60:]!r}")
        found = _BUILD.search(body)
        visit.version = found[1].decode() if found else ""

    async def _comment(self, visit: Visit, number: int, fresh: bool) -> None:
        body = urlencode({"csrf_token": self._token, "body": f"load {number}"}).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": self._cookies}
        sent = self._request("POST", f"/p/{self._post}/comments", body, kind)
        # Led to the post: what was written is kept.
        await self._exchange(visit, sent, 303, fresh, again=False)


if __name__ == "__main__":
    main(Taifish)
