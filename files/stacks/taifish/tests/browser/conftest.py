"""A browser, and a site with a worker for it to look at."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from taifish_rig import Site, worker


@pytest.fixture
def site(environment: dict[str, str], tmp_path: Path) -> Iterator[Site]:
    """The site and its worker."""
    made = Site(tmp_path, environment)
    working = worker(tmp_path, environment)
    try:
        made.wait_healthy()
        yield made
    finally:
        working.kill()
        made.kill()


@pytest.fixture
def browser(site: Site) -> Iterator[webdriver.Chrome]:
    """A headless Chromium; its console must stay free of errors."""
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
    made.set_window_size(1280, 900)
    try:
        yield made
        errors = [entry for entry in made.get_log("browser") if entry["level"] == "SEVERE"]
        assert not errors, errors
    finally:
        made.quit()
