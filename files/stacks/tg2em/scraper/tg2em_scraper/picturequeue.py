"""Works through the pictures that articles still lack; nothing is lost when a side is down."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select
from tg2em_core.db import SessionFactory, transaction
from tg2em_core.models import Article, Channel, Message, PictureRetry, utcnow
from tg2em_core.options import Options

from tg2em_scraper import pictures
from tg2em_scraper.http import Http
from tg2em_scraper.pictures import FetchError, ImageServiceError, NotAPictureError

log = logging.getLogger(__name__)

ACCOUNT_SCHEME = "account:"
GIVE_UP_AFTER = 12
_FIRST_DELAY = 15.0
_LONGEST_DELAY = 6 * 3600.0
_SERVICE_FIRST = 5.0
_SERVICE_LONGEST = 300.0
_BATCH = 20


@dataclass(frozen=True, slots=True)
class _Job:
    article_id: int
    channel: str
    message_id: int
    source: str
    others: tuple[str, ...]
    attempts: int


class PictureQueue:
    """Fetches due pictures, makes them small, uploads them and puts them into their articles.

    `from_account` fetches `account:` sources; None while nobody is signed in.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        http: Http,
        from_account: Callable[[str], bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._http = http
        self._clock = clock
        self._service_failures = 0
        self._service_again_at = 0.0
        self.from_account = from_account

    def work(self, options: Options, progress: Callable[[], None] = lambda: None) -> int:
        """Handle up to a batch of due pictures; returns how many articles got theirs.

        Nothing is fetched while the image service is known to be down: it is asked again after a
        growing delay of at most five minutes.
        """
        if not options.picture_enabled or self._clock() < self._service_again_at:
            return 0
        done = 0
        for job in self._due():
            progress()
            try:
                done += self._handle(job, options)
            except ImageServiceError as error:
                self._service_down(error)
                break
        return done

    def _due(self) -> list[_Job]:
        query = (
            select(PictureRetry, Article.message_id, Channel.name, Message.picture_urls)
            .join(Article, Article.id == PictureRetry.article_id)
            .join(Channel, Channel.id == Article.channel_id)
            .join(
                Message,
                (Message.channel_id == Article.channel_id)
                & (Message.message_id == Article.message_id),
                isouter=True,
            )
            .where(PictureRetry.next_attempt_at <= utcnow(), Article.deleted_at.is_(None))
            .order_by(PictureRetry.next_attempt_at)
            .limit(_BATCH)
        )
        with self._sessions() as session:
            return [
                _Job(
                    row.article_id,
                    channel,
                    number,
                    row.source,
                    tuple(url for url in urls or () if url != row.source),
                    row.attempts,
                )
                for row, number, channel, urls in session.execute(query)
            ]

    def _handle(self, job: _Job, options: Options) -> int:
        try:
            data = self._first_picture(job, options)
        except NotAPictureError as error:
            log.warning("%s/%d has no usable picture: %s", job.channel, job.message_id, error)
            self._settle(job, None)
            return 0
        except FetchError as error:
            self._later(job, str(error))
            return 0
        name = f"{job.channel}-{job.message_id}.webp"
        path = pictures.upload(
            self._http, options.tgstate_url, name, data, options.tgstate_password
        )
        if self._service_failures:
            log.info("the image service answers again")
        self._service_failures = 0
        self._settle(job, path)
        return 1

    def _first_picture(self, job: _Job, options: Options) -> bytes:
        failed: FetchError | None = None
        refused: NotAPictureError | None = None
        for source in (job.source, *job.others):
            try:
                return pictures.to_webp(
                    self._fetch(source), options.picture_max_edge, options.picture_quality
                )
            except FetchError as error:
                failed = failed or error
            except NotAPictureError as error:
                refused = refused or error
        # One that may come back is worth waiting for.
        raise failed or refused or NotAPictureError("there is none")

    def _fetch(self, source: str) -> bytes:
        if source.startswith(("http://", "https://")):
            return pictures.download(self._http, source)
        if source.startswith(ACCOUNT_SCHEME):
            if self.from_account is None:
                raise FetchError("no Telegram account is signed in")
            return self.from_account(source)
        try:
            path = Path(source)
            if path.stat().st_size > pictures.MAX_BYTES:
                raise NotAPictureError(f"larger than {pictures.MAX_BYTES} bytes")
            return path.read_bytes()
        except OSError as error:
            raise FetchError(f"cannot read the exported picture: {error.strerror}") from error

    def _settle(self, job: _Job, path: str | None) -> None:
        with transaction(self._sessions) as session:
            row = session.get(PictureRetry, job.article_id)
            if path is not None:
                session.get_one(Article, job.article_id).image = path
            # An edit may have asked for another picture meanwhile: that wish stays.
            if row is not None and row.source in (job.source, *job.others):
                session.delete(row)

    def _later(self, job: _Job, reason: str) -> None:
        attempts = job.attempts + 1
        with transaction(self._sessions) as session:
            row = session.get(PictureRetry, job.article_id)
            if row is None:
                return
            if attempts >= GIVE_UP_AFTER:
                log.warning("%s/%d gets no picture: %s", job.channel, job.message_id, reason)
                session.delete(row)
                return
            row.attempts = attempts
            row.last_error = reason[:500]
            row.next_attempt_at = utcnow() + timedelta(seconds=backoff(attempts))
        log.info("%s/%d: picture later: %s", job.channel, job.message_id, reason)

    def _service_down(self, error: ImageServiceError) -> None:
        self._service_failures += 1
        delay = min(_SERVICE_FIRST * 2 ** (self._service_failures - 1), _SERVICE_LONGEST)
        delay = max(delay, min(error.wait, _SERVICE_LONGEST))
        self._service_again_at = self._clock() + delay
        log.warning("%s; pictures wait %.0f s", error, delay)


def backoff(attempts: int) -> float:
    """Seconds until the next attempt: doubling from 15 s up to 6 h, with a tenth of jitter."""
    delay = min(_FIRST_DELAY * 2.0 ** (attempts - 1), _LONGEST_DELAY)
    return delay * random.uniform(0.9, 1.1)  # noqa: S311 (spreads load, hides nothing)
