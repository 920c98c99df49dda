"""A supervisor that runs for the whole of these tests."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "control"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from control_rig import backend, rig

__all__ = ["backend", "chrome", "rig"]


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    """A headless Chromium; its console is kept for the tests to read."""
    driver = shutil.which("chromedriver")
    if driver is None:
        raise RuntimeError("these tests need chromedriver: install chromium and chromium-driver")
    options = ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--lang=en")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = Chrome(options=options, service=Service(driver))
    made.set_page_load_timeout(30)
    yield made
    made.quit()
