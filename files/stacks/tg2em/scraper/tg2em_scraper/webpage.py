"""The default source: a channel's public preview page, which needs no account."""

from __future__ import annotations

import logging
from collections.abc import Callable
from urllib.parse import quote, urlsplit

from tg2em_scraper import preview
from tg2em_scraper.http import Answer, Http, HttpError, retry_after
from tg2em_scraper.source import NoPreviewError, Page, SourceError, Throttled

log = logging.getLogger(__name__)

_PAGE_BYTES = 8 * 1024 * 1024
_ATTEMPTS = 4
_THROTTLE_ATTEMPTS = 5
_THROTTLE_FIRST = 15.0
_THROTTLE_MOST = 900.0
_RETRY_FIRST = 1.0
_REDIRECTS = 3


class PreviewSource:
    """Fetches preview pages below `base_url`.

    `pause(seconds)` waits on behalf of the source; it raises when the scraper is asked to stop.
    `delay` seconds lie between two pages, so that a long history is read at a polite pace.
    """

    def __init__(
        self, http: Http, base_url: str, pause: Callable[[float], None], delay: float = 1.0
    ) -> None:
        self._http = http
        self._base = base_url.rstrip("/")
        self._pause = pause
        self._delay = delay
        self._fetched = False

    def page(self, channel: str, before: int | None) -> Page:
        """The newest posts, or those older than `before`; see `source.PageSource`."""
        url = f"{self._base}/s/{quote(channel, safe='')}"
        if before is not None:
            url += f"?before={before}"
        if self._fetched and self._delay:
            self._pause(self._delay)
        self._fetched = True
        answer = self._fetch(url)
        return preview.parse_page(answer.body, channel, answer.url)

    def _fetch(self, url: str) -> Answer:
        failures = throttles = 0
        while True:
            try:
                return self._once(url)
            except Throttled as throttled:
                throttles += 1
                if throttles >= _THROTTLE_ATTEMPTS:
                    raise
                backoff = _THROTTLE_FIRST * 2 ** (throttles - 1)
                seconds = min(throttled.seconds or backoff, _THROTTLE_MOST)
                log.warning("%s answers 429; waiting %.0f s", urlsplit(url).hostname, seconds)
                self._pause(seconds)
            except HttpError as error:
                failures += 1
                if failures >= _ATTEMPTS:
                    raise SourceError(str(error)) from error
                self._pause(_RETRY_FIRST * 2 ** (failures - 1))

    def _once(self, url: str) -> Answer:
        for _ in range(_REDIRECTS + 1):
            answer = self._http.get(url, max_bytes=_PAGE_BYTES)
            if answer.status == 429:
                raise Throttled(retry_after(answer.headers), f"{urlsplit(url).hostname} (HTTP 429)")
            if answer.status >= 500:
                raise HttpError(f"{urlsplit(url).hostname}: HTTP {answer.status}")
            if not answer.location:
                break
            if not self._is_preview(answer.location):
                raise NoPreviewError("no public preview: the page leads away from /s/")
            url = answer.location
        else:
            raise SourceError("the preview page redirects in a circle")
        if answer.status != 200:
            raise SourceError(f"{urlsplit(url).hostname}: HTTP {answer.status}")
        return answer

    def _is_preview(self, url: str) -> bool:
        path = urlsplit(url).path
        return path.removeprefix(urlsplit(self._base).path).startswith("/s/")
