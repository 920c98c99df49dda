"""What the scraper's tests share: preview pages and an image service, each really served."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from image_server import ImageServer
from preview_server import PreviewServer
from scraper_harness import Scraper
from tg2em_core.db import SessionFactory


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
def scraper(
    empty: SessionFactory, pages: PreviewServer, images: ImageServer, tmp_path: Path
) -> Iterator[Scraper]:
    """A scraper that reads `pages` and uploads to `images`, on empty tables."""
    made = Scraper(empty, tmp_path)
    made.set(scraper_base_url=pages.url, tgstate_url=images.url)
    yield made
    made.runner.close()
