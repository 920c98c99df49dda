"""The scraper's loop: sign-in, due channels, pictures; whatever fails is tried again later."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from tg2em_core.db import SessionFactory
from tg2em_core.models import Channel, Source, utcnow
from tg2em_core.options import Options

from tg2em_scraper.config import Config
from tg2em_scraper.heartbeat import Heartbeat
from tg2em_scraper.http import Http
from tg2em_scraper.picturequeue import PictureQueue
from tg2em_scraper.reader import Reader
from tg2em_scraper.signin import SignIn
from tg2em_scraper.source import PageSource, SessionRevoked, SourceError, Throttled
from tg2em_scraper.store import Counts, Store, is_due
from tg2em_scraper.webpage import PreviewSource

if TYPE_CHECKING:
    from tg2em_scraper.account import AccountSource

log = logging.getLogger(__name__)

POLL_SECONDS = 3.0
_DATABASE_LONGEST = 30.0


class Stopping(Exception):
    """The scraper was asked to stop; what was stored so far stays."""


class Runner:
    """Does the work, in one thread, until `stop` is set."""

    def __init__(
        self,
        sessions: SessionFactory,
        config: Config,
        stop: threading.Event,
        *,
        http: Http | None = None,
        sign_in: SignIn | None = None,
    ) -> None:
        self._config = config
        self._stop = stop
        self._http = http or Http()
        self.store = Store(sessions)
        self.sign_in = sign_in or SignIn(sessions, config.session_file)
        self.pictures = PictureQueue(sessions, self._http)
        self._heartbeat = Heartbeat(config.data_dir)
        # When each kind of source may be asked again after it told us to slow down.
        self._not_before: dict[Source, float] = {}

    def run(self) -> None:
        """Work until asked to stop; a database that is down is waited for."""
        failures = 0
        while not self._stop.is_set():
            wait = POLL_SECONDS
            try:
                if self.cycle():
                    wait = 0.0
                if failures:
                    log.info("the database answers again")
                failures = 0
            except Stopping:
                break
            except SQLAlchemyError as error:
                failures += 1
                wait = min(2.0 ** min(failures - 1, 5), _DATABASE_LONGEST)
                text = f"waiting for the database: {_origin(error)}"
                self._heartbeat.beat(text)
                if failures == 1 or wait == _DATABASE_LONGEST:
                    log.warning("%s", text)
            self._stop.wait(wait)
        self.close()

    def close(self) -> None:
        """Disconnect from everything."""
        self.sign_in.close()
        self._http.close()

    def cycle(self) -> bool:
        """One round: the sign-in's step, channels that are due, pictures that are due.

        Returns whether there may be more pictures to do at once.
        """
        self.sign_in.tick()
        options = self.store.options()
        if not options.scraper_enabled:
            self._heartbeat.beat("switched off in the settings")
            return False
        now = utcnow()
        channels = self.store.channels()
        due = [c for c in channels if is_due(c, now, options.scraper_interval)]
        self.read(due, options)
        pictures = self.work_pictures(options)
        text = f"{len(channels)} channels, read every {options.scraper_interval} s"
        self._heartbeat.beat(text if channels else "no channel is set up")
        return pictures > 0

    def read(self, channels: Iterable[Channel], options: Options) -> Counts:
        """Read the channels one after another; one that fails does not affect the others."""
        total = Counts()
        preview = PreviewSource(
            self._http, options.scraper_base_url, self.pause, self._config.page_delay
        )
        for channel in channels:
            self._check_stop()
            if time.monotonic() >= self._not_before.get(channel.source, 0.0):
                total.add(self._read_one(channel, preview, options))
        return total

    def work_pictures(self, options: Options) -> int:
        """Bring due pictures to the image service; returns how many articles got theirs."""
        self.pictures.from_account = None
        if self.sign_in.signed_in:
            self.pictures.from_account = self._account_source().picture
        return self.pictures.work(options, self._step)

    def pause(self, seconds: float) -> None:
        """Wait on behalf of a source, going on with the sign-in. Raises Stopping."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._stop.wait(min(left, POLL_SECONDS)):
                raise Stopping
            if left > POLL_SECONDS:
                self.sign_in.tick()
            self._heartbeat.beat()

    def _read_one(self, channel: Channel, preview: PageSource, options: Options) -> Counts:
        started = time.monotonic()
        error = ""
        counts = Counts()
        self._heartbeat.beat(f"reading {channel.name}")
        try:
            source = preview if channel.source is Source.PREVIEW else self._account_source()
            counts = Reader(self.store, self._step).read(channel, source, options)
        except Throttled as throttled:
            wait = max(throttled.seconds, options.scraper_interval)
            self._not_before[channel.source] = time.monotonic() + wait
            error = str(throttled)
        except SessionRevoked as revoked:
            error = str(revoked)
            self.sign_in.revoked(error)
        except SourceError as failure:
            error = str(failure)
        except (Stopping, DBAPIError):
            raise
        except Exception as failure:
            # A fault of our own in one channel must not end the reading of the others.
            log.exception("%s: unexpected error", channel.name)
            error = f"unexpected error: {type(failure).__name__}; see the scraper's log"
        self.store.checked(channel.id, error)
        if error and error != channel.last_error:
            log.warning("%s: %s", channel.name, error)
        elif counts.new or counts.edited or counts.failed:
            log.info("%s: %s (%.1f s)", channel.name, counts, time.monotonic() - started)
        return counts

    def _account_source(self) -> AccountSource:
        from tg2em_scraper.account import AccountSource

        return AccountSource(self.sign_in.account(), self.pause)

    def _step(self) -> None:
        self._check_stop()
        self._heartbeat.beat()

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopping


def _origin(error: SQLAlchemyError) -> str:
    # str(error) may hold a statement with its parameters.
    origin = getattr(error, "orig", None)
    return str(origin if origin is not None else type(error).__name__)[:300]
