"""Writes posts to the database: each one once for good, its edits into its article."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session, selectinload
from tg2em_core import articles, models
from tg2em_core.db import SessionFactory, transaction
from tg2em_core.models import Article, Channel, Outcome, PictureRetry, ProcessedMessage, utcnow
from tg2em_core.options import Options, load

from tg2em_scraper import fields
from tg2em_scraper.messages import Message

log = logging.getLogger(__name__)

# A post that could not be stored is tried again when its page is read again, this many times.
FAILED_ATTEMPTS = 5
_ERROR_LENGTH = 500
_DEADLOCK_ATTEMPTS = 3
# Server errors (https://mariadb.com/docs/server/reference/error-codes): the deadlock itself, and
# what the way back to a savepoint of the lost transaction then meets.
_DEADLOCK = (1213, 1305)


@dataclass(slots=True)
class Counts:
    """What became of the posts of one or more pages."""

    new: int = 0
    edited: int = 0
    known: int = 0
    ignored: int = 0
    failed: int = 0

    def add(self, other: Counts) -> None:
        """Count the other's posts in."""
        self.new += other.new
        self.edited += other.edited
        self.known += other.known
        self.ignored += other.ignored
        self.failed += other.failed

    def __str__(self) -> str:
        text = f"{self.new} new, {self.edited} edited, {self.known} known"
        text += f", {self.ignored} without a resource" if self.ignored else ""
        return text + (f", {self.failed} failed" if self.failed else "")


@dataclass(frozen=True, slots=True)
class Mark:
    """What to note on a channel besides its posts; None and an empty title change nothing."""

    newest: int | None = None
    oldest: int | None = None
    backfilled: bool | None = None
    title: str = ""


class Store:
    """The scraper's reads and writes, each one transaction."""

    def __init__(self, sessions: SessionFactory) -> None:
        self._sessions = sessions

    def options(self) -> Options:
        """The settings in force."""
        with self._sessions() as session:
            return load(session)

    def channels(self) -> list[Channel]:
        """The channels that are to be read; those never read come first."""
        query = select(Channel).where(Channel.enabled, Channel.source != models.Source.EXPORT)
        with self._sessions() as session:
            return list(session.scalars(query.order_by(Channel.last_checked_at, Channel.id)))

    def channel(self, name: str, create_as: models.Source | None = None) -> Channel:
        """One channel by its name, made when `create_as` is given. Raises LookupError."""
        with transaction(self._sessions) as session:
            found = session.scalars(select(Channel).where(Channel.name == name)).one_or_none()
            if found is None:
                if create_as is None:
                    raise LookupError(f"there is no channel {name!r}")
                found = Channel(name=name, source=create_as)
                session.add(found)
                session.flush()
            return found

    def checked(self, channel_id: int, error: str = "") -> None:
        """Note that a channel has been read now, or why it could not be."""
        with transaction(self._sessions) as session:
            channel = session.get_one(Channel, channel_id)
            channel.last_checked_at = utcnow()
            channel.last_error = error[:_ERROR_LENGTH]

    def save(
        self, channel_id: int, messages: Sequence[Message], options: Options, mark: Mark
    ) -> Counts:
        """Store one page of posts and how far the channel has been read, all or nothing.

        A post that cannot be stored is noted as failed and does not affect the others.
        A deadlock with whoever edits articles meanwhile is tried again. Raises SQLAlchemyError
        when the database itself fails.
        """
        for _ in range(_DEADLOCK_ATTEMPTS - 1):
            try:
                return self._store(channel_id, messages, options, mark)
            except DBAPIError as error:
                if not _deadlock(error):
                    raise
                log.info("somebody else wrote to the same rows: storing the page again")
        return self._store(channel_id, messages, options, mark)

    def _store(
        self, channel_id: int, messages: Sequence[Message], options: Options, mark: Mark
    ) -> Counts:
        with transaction(self._sessions) as session:
            batch = _Batch(session, channel_id, messages, options)
            for message in messages:
                batch.take(message)
            if mark != Mark():
                _set_mark(session.get_one(Channel, channel_id), mark)
        return batch.counts


def _set_mark(channel: Channel, mark: Mark) -> None:
    if mark.newest is not None:
        channel.newest_message_id = max(channel.newest_message_id, mark.newest)
    if mark.oldest is not None:
        oldest = channel.oldest_message_id
        channel.oldest_message_id = min(oldest, mark.oldest) if oldest else mark.oldest
    if mark.backfilled is not None:
        channel.backfilled = mark.backfilled
    if mark.title:
        channel.title = mark.title[:255]


class _Batch:
    """One page's posts with what the database knows about them, fetched by four queries."""

    def __init__(
        self, session: Session, channel_id: int, messages: Iterable[Message], options: Options
    ) -> None:
        self.counts = Counts()
        self._session = session
        self._channel_id = channel_id
        self._options = options
        ids = [m.message_id for m in messages] + [i for m in messages for i in m.album_ids]
        self._ledger = {
            row.message_id: row
            for row in session.scalars(
                select(ProcessedMessage).where(
                    ProcessedMessage.channel_id == channel_id,
                    ProcessedMessage.message_id.in_(ids),
                )
            )
        }
        self._rows = {
            row.message_id: row
            for row in session.scalars(
                select(models.Message).where(
                    models.Message.channel_id == channel_id, models.Message.message_id.in_(ids)
                )
            )
        }
        self._articles = {
            row.message_id: row
            for row in session.scalars(
                select(Article)
                .where(Article.channel_id == channel_id, Article.message_id.in_(ids))
                .options(selectinload(Article.tags))
            )
        }

    def take(self, message: Message) -> None:
        entry = self._ledger.get(message.message_id)
        row = self._rows.get(message.message_id)
        try:
            with self._session.begin_nested():
                if entry is None or (
                    entry.outcome is Outcome.FAILED and entry.attempts < FAILED_ATTEMPTS
                ):
                    outcome = self._insert(message)
                    self._note(message, outcome)
                elif row is not None and row.digest != message.digest:
                    outcome = self._edit(message, row)
                    self._note(message, outcome)
                    self.counts.edited += 1
                else:
                    self._refresh(message, row)
                    self.counts.known += 1
        except SQLAlchemyError as error:
            # A deadlock's victim has lost its whole transaction, not just this post.
            lost = isinstance(error, DBAPIError) and error.connection_invalidated
            if lost or _deadlock(error):
                raise
            self._fail(message, _reason(error))
        except (ValueError, TypeError, LookupError, OverflowError) as error:
            self._fail(message, f"{type(error).__name__}: {error}")

    def _insert(self, message: Message) -> Outcome:
        resource = fields.parse(message.body, self._options.scraper_blocked_tags)
        self._session.add(
            models.Message(
                channel_id=self._channel_id,
                message_id=message.message_id,
                text=message.body.text,
                digest=message.digest,
                picture_urls=list(message.pictures),
                views=message.views or 0,
                posted_at=message.posted_at,
                edited_at=utcnow() if message.edited else None,
            )
        )
        if resource is not None:
            self._add_article(message, resource)
        self._session.flush()
        if resource is None:
            self.counts.ignored += 1
            return Outcome.IGNORED
        self.counts.new += 1
        return Outcome.ARTICLE

    def _add_article(self, message: Message, resource: fields.Resource) -> None:
        article = Article(
            channel_id=self._channel_id,
            message_id=message.message_id,
            posted_at=message.posted_at,
            views=message.views or 0,
        )
        self._write(article, resource)
        self._session.add(article)
        self._session.flush()
        self._want_picture(article, message)

    def _edit(self, message: Message, row: models.Message) -> Outcome:
        row.text = message.body.text
        row.digest = message.digest
        row.picture_urls = list(message.pictures)
        row.views = max(row.views, message.views or 0)
        row.edited_at = utcnow()
        resource = fields.parse(message.body, self._options.scraper_blocked_tags)
        article = self._articles.get(message.message_id)
        if article is None:
            # A picture that got its text only by the edit becomes an article now.
            if resource is not None:
                self._add_article(message, resource)
            self._session.flush()
            return Outcome.IGNORED if resource is None else Outcome.ARTICLE
        # Deleted ones are brought up to date as well, but stay deleted.
        if resource is not None and not article.locked:
            self._write(article, resource)
        article.views = row.views
        self._want_picture(article, message)
        self._session.flush()
        return Outcome.ARTICLE

    def _write(self, article: Article, resource: fields.Resource) -> None:
        article.title = resource.title
        article.name = resource.name
        article.description = resource.description
        article.link = resource.link
        article.size = resource.size
        article.category = resource.category
        article.tags = articles.tags_for(self._session, resource.tags)

    def _want_picture(self, article: Article, message: Message) -> None:
        if not (message.pictures and self._options.picture_enabled) or article.deleted_at:
            return
        source = message.pictures[0]
        self._session.merge(
            PictureRetry(
                article_id=article.id,
                source=source,
                attempts=0,
                next_attempt_at=utcnow(),
                last_error="",
            )
        )

    def _refresh(self, message: Message, row: models.Message | None) -> None:
        if row is None:
            return
        article = self._articles.get(message.message_id)
        if message.views is not None and message.views > row.views:
            row.views = message.views
            if article is not None:
                article.views = message.views
        if message.pictures and row.picture_urls != list(message.pictures):
            # Addresses of pictures expire: a picture still wanted gets the fresh one.
            row.picture_urls = list(message.pictures)
            waiting = self._session.get(PictureRetry, article.id) if article is not None else None
            if waiting is not None:
                waiting.source = message.pictures[0]

    def _note(self, message: Message, outcome: Outcome, error: str = "") -> None:
        for number in (message.message_id, *message.album_ids):
            entry = self._ledger.get(number)
            if entry is None:
                entry = ProcessedMessage(channel_id=self._channel_id, message_id=number, attempts=0)
                self._session.add(entry)
            entry.outcome = outcome if number == message.message_id else Outcome.IGNORED
            entry.attempts += 1
            entry.error = error[:_ERROR_LENGTH]
            entry.processed_at = utcnow()
        self._session.flush()

    def _fail(self, message: Message, reason: str) -> None:
        log.warning("%s/%d cannot be stored: %s", message.channel, message.message_id, reason)
        self.counts.failed += 1
        with self._session.begin_nested():
            self._note(message, Outcome.FAILED, reason)


def _deadlock(error: SQLAlchemyError) -> bool:
    origin = getattr(error, "orig", None)
    return origin is not None and bool(origin.args) and origin.args[0] in _DEADLOCK


def _reason(error: SQLAlchemyError) -> str:
    # str(error) would hold the whole statement with its parameters.
    origin = getattr(error, "orig", None)
    return f"{type(error).__name__}: {origin}" if origin is not None else type(error).__name__


def is_due(channel: Channel, now: datetime, interval: float) -> bool:
    """Whether a channel is to be read: never read, asked for (no check time), or long ago."""
    checked = channel.last_checked_at
    return checked is None or (now - checked).total_seconds() >= interval
