"""What the scraper's tests share: a preview server, an image service, clean tables."""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select
from tg2em_core.db import SessionFactory, make_sessions, transaction
from tg2em_core.models import Article, Base, Channel, Source
from tg2em_core.options import save

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from image_server import ImageServer
from preview_server import PreviewServer
from tg2em_scraper.config import Config
from tg2em_scraper.runner import Runner


@pytest.fixture
def pages() -> Iterator[PreviewServer]:
    """A preview server without channels; tests put theirs into `channels`."""
    server = PreviewServer(("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def images() -> Iterator[ImageServer]:
    """An image service that can be taken down and brought back on the same port."""
    server = ImageServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def sessions(engine: Engine) -> SessionFactory:
    """Sessions on a migrated database whose tables are empty."""
    factory = make_sessions(engine)
    with transaction(factory) as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(delete(table))
    return factory


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


@pytest.fixture
def scraper(
    sessions: SessionFactory, pages: PreviewServer, images: ImageServer, tmp_path: Path
) -> Iterator[Scraper]:
    """A scraper that reads `pages` and uploads to `images`."""
    made = Scraper(sessions, tmp_path)
    made.set(scraper_base_url=pages.url, tgstate_url=images.url)
    yield made
    made.runner.close()


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait, within bounds, until a condition holds."""
    from waiting import eventually as wait

    return wait
