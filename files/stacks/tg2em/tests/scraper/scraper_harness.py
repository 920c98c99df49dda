"""A scraper whose steps a test takes itself."""

import threading
from pathlib import Path
from typing import Any

from sqlalchemy import select
from tg2em_core.db import SessionFactory, transaction
from tg2em_core.models import Article, Channel, Source
from tg2em_core.options import save
from tg2em_scraper.config import Config
from tg2em_scraper.runner import Runner


class Scraper:
    """A runner whose steps a test takes itself, with what it needs to look at the result."""

    def __init__(self, sessions: SessionFactory, data: Path) -> None:
        self.sessions = sessions
        self.stop = threading.Event()
        self.runner = Runner(sessions, Config(data, page_delay=0.0), self.stop)

    def set(self, **values: Any) -> None:
        """Change settings, as the admin page does."""
        with transaction(self.sessions) as session:
            save(session, values)

    def add(self, name: str, source: Source = Source.PREVIEW) -> int:
        """Set a channel up, as the admin page does."""
        with transaction(self.sessions) as session:
            channel = Channel(name=name, source=source)
            session.add(channel)
            session.flush()
            return channel.id

    def cycle(self) -> None:
        """Read all channels now, as though their interval were over."""
        with transaction(self.sessions) as session:
            for channel in session.scalars(select(Channel)):
                channel.last_checked_at = None
        self.runner.cycle()

    def articles(self) -> dict[int, Article]:
        """All articles, deleted ones too, by message id, tags loaded."""
        with self.sessions() as session:
            found = {a.message_id: a for a in session.scalars(select(Article))}
            for article in found.values():
                _ = article.tags
            return found

    def channel(self, name: str) -> Channel:
        """One channel as it is in the database."""
        return self.runner.store.channel(name)
