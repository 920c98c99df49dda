"""A browser, and the site for it to look at."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastblog_rig import environment, free_port, main_app
from selenium import webdriver
from selenium.webdriver.chrome.service import Service


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Its address."""
    port = free_port()
    made = main_app(tmp_path, environment(tmp_path), port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        made.kill()


@pytest.fixture
def browser(site: str) -> Iterator[webdriver.Chrome]:
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
    made.set_page_load_timeout(60)
    try:
        yield made
        errors = [entry for entry in made.get_log("browser") if entry["level"] == "SEVERE"]
        assert not errors, errors
    finally:
        made.quit()
