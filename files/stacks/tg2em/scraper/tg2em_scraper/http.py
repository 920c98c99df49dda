"""HTTP with bounds: every request ends within a time, a size and a number of redirects."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import urllib3

REDIRECTS = (301, 302, 303, 307, 308)
_USER_AGENT = "Mozilla/5.0 (compatible; tg2em)"
_CHUNK = 64 * 1024


class HttpError(Exception):
    """No usable answer. The text names host and cause, never a query or a header."""


class TooLarge(HttpError):
    """The answer is larger than asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (names in lower case) and the whole body."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def location(self) -> str:
        """Where a redirect leads, absolute; empty for any other answer."""
        target = self.headers.get("location", "") if self.status in REDIRECTS else ""
        return urljoin(self.url, target) if target else ""


class Http:
    """Keeps a few connections open; for use by one thread."""

    def __init__(self, connect_seconds: float = 5.0, read_seconds: float = 15.0) -> None:
        self._read_seconds = read_seconds
        self._connect_seconds = connect_seconds
        self._pool = urllib3.PoolManager(
            num_pools=4, maxsize=1, retries=False, headers={"User-Agent": _USER_AGENT}
        )

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.clear()

    def get(self, url: str, *, max_bytes: int, seconds: float = 30.0, redirects: int = 0) -> Answer:
        """GET, following at most `redirects` redirects; the last answer is returned as it is."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self._send("GET", url, max_bytes, deadline)
            if not answer.location or redirects <= 0:
                return answer
            redirects -= 1
            url = answer.location

    def post_file(
        self,
        url: str,
        field: str,
        name: str,
        data: bytes,
        content_type: str,
        *,
        seconds: float = 30.0,
    ) -> Answer:
        """POST one file as multipart/form-data."""
        deadline = time.monotonic() + seconds
        return self._send("POST", url, _CHUNK, deadline, {field: (name, data, content_type)})

    def _send(
        self,
        method: str,
        url: str,
        max_bytes: int,
        deadline: float,
        fields: dict[str, tuple[str, bytes, str]] | None = None,
    ) -> Answer:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise HttpError("not an http or https address")
        left = max(0.1, deadline - time.monotonic())
        timeout = urllib3.Timeout(
            connect=min(self._connect_seconds, left), read=min(self._read_seconds, left)
        )
        try:
            response = self._pool.request(
                method, url, fields=fields, redirect=False, preload_content=False, timeout=timeout
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise HttpError(f"{parts.hostname}: {_cause(error)}") from error
        try:
            body = _read(response, max_bytes, deadline)
        except TooLarge as error:
            response.close()
            raise TooLarge(f"{parts.hostname}: {error}") from error
        except (urllib3.exceptions.HTTPError, OSError, TimeoutError) as error:
            response.close()
            raise HttpError(f"{parts.hostname}: {_cause(error)}") from error
        response.release_conn()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(url, response.status, headers, body)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float:
    """Seconds that `Retry-After` asks for, given as a number or a date; 0 when it says nothing."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}", value):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, IndexError):
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def _read(response: urllib3.BaseHTTPResponse, max_bytes: int, deadline: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    # read1 returns what one packet brought: a server that drips bytes meets the deadline too.
    while chunk := response.read1(_CHUNK):
        size += len(chunk)
        if size > max_bytes:
            raise TooLarge(f"the answer is larger than {max_bytes} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError
        parts.append(chunk)
    return b"".join(parts)


def _cause(error: Exception) -> str:
    # The library's own texts hold the whole address, and with it a password in a query.
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "name not found"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "no connection"
    if isinstance(error, (urllib3.exceptions.TimeoutError, TimeoutError)):
        return "timed out"
    if isinstance(error, urllib3.exceptions.SSLError):
        return "TLS failed: certificate not trusted or protocol error"
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return "connection lost"
    return type(error).__name__
