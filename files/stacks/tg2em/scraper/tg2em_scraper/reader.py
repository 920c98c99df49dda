"""Reads one channel: what is new, what was edited, and step by step its older posts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from tg2em_core.models import Channel
from tg2em_core.options import Options

from tg2em_scraper.source import Page, PageSource
from tg2em_scraper.store import Counts, Mark, Store

log = logging.getLogger(__name__)


class Reader:
    """Walks a channel's pages backwards from the newest; `step` is called after each page.

    The newest page is read every time, which is where most edits are. `newest_message_id` moves
    only when a walk has reached the posts known before: a walk that was cut short leaves no gap.
    """

    def __init__(self, store: Store, step: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._step = step

    def read(self, channel: Channel, source: PageSource, options: Options) -> Counts:
        """Store what is new, then go on with older posts. Raises SourceError, SQLAlchemyError."""
        counts = Counts()
        first = channel.newest_message_id == 0
        oldest = self._catch_up(channel, source, options, counts)
        if first or not channel.backfilled:
            start = oldest if first else channel.oldest_message_id
            self._backfill(channel, source, options, counts, start)
        return counts

    def _catch_up(
        self, channel: Channel, source: PageSource, options: Options, counts: Counts
    ) -> int | None:
        known = channel.newest_message_id
        newest = 0
        before: int | None = None
        while True:
            page = self._page(channel, source, before)
            ids = [message.message_id for message in page.messages]
            newest = max([newest, *ids])
            # A channel read for the first time has nothing to catch up with.
            reached = not known or not ids or min(ids) <= known
            following = _following(page, before)
            mark = Mark(title=page.title if page.title != channel.title else "")
            if (reached or following is None) and newest:
                oldest = min(ids) if ids and not known else None
                mark = replace(mark, newest=newest, oldest=oldest)
            counts.add(self._store.save(channel.id, page.messages, options, mark))
            if reached or following is None:
                return following
            before = following
            self._step()

    def _backfill(
        self,
        channel: Channel,
        source: PageSource,
        options: Options,
        counts: Counts,
        before: int | None,
    ) -> None:
        for _ in range(options.scraper_backfill_pages):
            if not before:
                break
            self._step()
            page = self._page(channel, source, before)
            ids = [message.message_id for message in page.messages]
            following = _following(page, before)
            mark = Mark(oldest=min([before, *ids]))
            counts.add(self._store.save(channel.id, page.messages, options, mark))
            before = following
        self._store.save(channel.id, [], options, Mark(backfilled=True))

    def _page(self, channel: Channel, source: PageSource, before: int | None) -> Page:
        page = source.page(channel.name, before)
        for problem in page.problems:
            log.warning("%s: %s", channel.name, problem)
        return page


def _following(page: Page, before: int | None) -> int | None:
    """Where the older page begins; None when there is none or it would lead in a circle."""
    if page.before is None or (before is not None and page.before >= before):
        return None
    return page.before
