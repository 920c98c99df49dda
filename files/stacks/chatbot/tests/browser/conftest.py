"""A browser, and a server for it to look at."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from chatbot import knowledge
from chatbot.config import Config
from chatbot.db import Database
from chatbot_rig import Server
from selenium import webdriver
from selenium.webdriver.chrome.service import Service


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Server]:
    """uWSGI, with an article."""
    made = Server(tmp_path)
    try:
        database = Database(Config.from_environment(made.environment))
        with database.transaction() as connection:
            knowledge.add(connection, "如何申请退款？", "请在订单页面点击“申请退款”。", "a")
        made.wait_healthy()
        yield made
    finally:
        made.kill()


@pytest.fixture
def browser(site: Server) -> Iterator[webdriver.Chrome]:
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
