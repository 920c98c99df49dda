"""What keeps an owner's way in open while others guess: known devices, and slow answers.

A limit for each account would let anybody keep its owner out. So guesses of strangers beyond the
limit are answered slowly, a few at a time, and whoever has signed in from a browser before is
counted by itself there.
"""

from __future__ import annotations

import secrets
import threading
import time
import unicodedata

from flask import Request
from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug.wrappers import Response

REMEMBERED_SECONDS = 180 * 86400
_LONGEST_NAME = 64


def account_name(given: str) -> str:
    """Return the one spelling of a name, or "" for what cannot be one: names are plain ASCII.

    Databases take `ádmin` and `ＡＤＭＩＮ` for `admin`, and limits do not.
    """
    name = unicodedata.normalize("NFKC", given).casefold()
    plain = 0 < len(name) <= _LONGEST_NAME and all("!" <= sign <= "~" for sign in name)
    return name if plain else ""


class Devices:
    """Browsers that an account has signed in from, by a signed cookie that nobody else can make."""

    def __init__(self, key: str | bytes, cookie: str) -> None:
        """Sign with the application's `key`; the cookie is called `cookie`."""
        self._serializer = URLSafeTimedSerializer(key, salt="moorage known device")
        self._cookie = cookie

    def known(self, request: Request, account: str) -> str:
        """Return the device's number when the account has signed in from it, else ""."""
        try:
            whose, number = self._serializer.loads(
                request.cookies.get(self._cookie, ""), max_age=REMEMBERED_SECONDS
            )
        except (BadSignature, TypeError, ValueError):
            return ""
        return str(number) if account and whose == account else ""

    def remember(self, request: Request, response: Response, account: str) -> None:
        """Have the browser known from now on; the right password was given."""
        number = self.known(request, account) or secrets.token_hex(16)
        response.set_cookie(
            self._cookie,
            self._serializer.dumps([account, number]),
            max_age=REMEMBERED_SECONDS,
            httponly=True,
            samesite="Strict",
            secure=request.is_secure,
        )


class Brake:
    """Makes answers slow, and few of them at a time, so that waiting takes no server's threads."""

    def __init__(self, seconds: float = 2.0, places: int = 3) -> None:
        """Let `places` callers wait `seconds` each; others are refused."""
        self.seconds = seconds
        self._places = threading.BoundedSemaphore(places)

    def wait(self) -> bool:
        """Wait; False at once when too many do already."""
        if not self._places.acquire(blocking=False):
            return False
        try:
            time.sleep(self.seconds)
        finally:
            self._places.release()
        return True
