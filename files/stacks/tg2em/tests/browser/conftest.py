"""A browser, and a site that really runs for it to look at."""

import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from sqlalchemy import Engine, delete
from tg2em_core import migrate
from tg2em_core.db import make_sessions, transaction
from tg2em_core.environment import DatabaseConfig
from tg2em_core.models import Base, Channel

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scraper"))

from image_server import ImageServer
from preview_server import PreviewServer, demo
from running_site import ADMIN, PASSWORD, RunningSite, eventually


# Not for the session: its scraper would go on writing into what the next tests look at.
@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, mariadb: DatabaseConfig, engine: Engine
) -> Iterator[RunningSite]:
    """The site, with the five articles that its scraper has read from a preview page."""
    sessions = make_sessions(engine)
    with transaction(sessions) as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(delete(table))
        migrate.ensure_admin(session, ADMIN, PASSWORD)
        session.add(Channel(name="demo"))
    pages, images = PreviewServer(("127.0.0.1", 0)), ImageServer()
    pages.channels.update(demo())
    threading.Thread(target=pages.serve_forever, kwargs={"poll_interval": 0.05}).start()
    images.start()
    settings = {
        "SCRAPER_BASE_URL": pages.url,
        "SCRAPER_INTERVAL": "5",
        "TGSTATE_URL": images.url,
        "LOGIN_LIMIT": "50",
    }
    made = RunningSite(tmp_path_factory.mktemp("site"), mariadb, settings)
    try:
        made.start()
        eventually(lambda: images.uploads >= 5, f"no pictures: {made.log('scraper')}")
        yield made
    finally:
        made.stop()
        images.stop()
        pages.shutdown()
        pages.server_close()


@pytest.fixture(scope="session")
def chrome() -> Iterator[webdriver.Chrome]:
    """A headless Chromium; its console is kept for the tests to read."""
    driver = shutil.which("chromedriver")
    if driver is None:
        raise RuntimeError("these tests need chromedriver: install chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--lang=en")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(driver))
    made.set_page_load_timeout(30)
    yield made
    made.quit()


@pytest.fixture
def browser(chrome: webdriver.Chrome, site: RunningSite) -> Iterator[webdriver.Chrome]:
    """The browser without cookies, as wide as a desk; its console must stay free of errors."""
    chrome.get(f"{site.url}/health")
    chrome.delete_all_cookies()
    chrome.set_window_size(1280, 900)
    chrome.get_log("browser")
    yield chrome
    errors = [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors, errors
