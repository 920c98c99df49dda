"""The panel of a unified container: the data services beside it are there like its processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from control_rig import ControlRig, eventually
from gateway_rig import ENGINE, Gateway, Stack
from panel_scene import TALKER
from running_panel import PASSWORD, RunningPanel
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that knows one container, `db`."""
    directory = tmp_path / "gateway"
    directory.mkdir()
    stack = Stack(directory)
    try:
        stack.add("db", TALKER)
        made = Gateway(directory, stack.release, ENGINE)
        yield made
        made.stop()
    finally:
        stack.remove()


@pytest.fixture
def panel(tmp_path: Path, gateway: Gateway) -> Iterator[RunningPanel]:
    """The panel, in front of a supervisor and of that gateway."""
    rig = ControlRig(tmp_path)
    made = RunningPanel(tmp_path, f"unix+supervisor://{rig.socket},unix+http://{gateway.socket}")
    try:
        rig.start()
        made.start()
        yield made
    finally:
        if made.process is not None:
            made.stop()
        rig.stop()


def test_the_database_is_shown_restarted_and_its_log_read(
    chrome: Chrome,
    panel: RunningPanel,
    gateway: Gateway,
) -> None:
    chrome.set_window_size(1280, 900)
    chrome.get(panel.url)
    one(chrome, "#username").send_keys("admin")
    one(chrome, "#password").send_keys(PASSWORD + Keys.ENTER)
    row = one(chrome, "tr[data-service=db]")
    names = [r.get_attribute("data-service") for r in _rows(chrome)]
    assert names == ["steady", "broken", "once", "talker", "db"]
    assert "running" in row.text
    before = one(chrome, "tr[data-service=db] [data-f=pid]").text
    one(chrome, "#restart-db").click()
    one(chrome, "#panel-reason").send_keys("a check")
    one(chrome, '#panel-confirm button[value="yes"]').click()
    eventually(
        lambda: one(chrome, "tr[data-service=db] [data-f=pid]").text not in (before, "–"),
        "another process", 30,
    )  # fmt: skip
    assert gateway.audit()[-1]["reason"] == "a check"

    chrome.get(f"{panel.url}/services/db/log")
    eventually(lambda: "two" in one(chrome, "[data-log]").text, "its log")
    # Each line with when it was written, in the reader's language and zone, beside the text.
    shown = eventually(
        lambda: chrome.execute_script(
            "const line = document.querySelector('.log__line[data-at]');"
            "return line && [line.dataset.at, line.dataset.when, line.textContent,"
            "  getComputedStyle(line, '::before').content,"
            "  new Intl.DateTimeFormat('en', {dateStyle: 'short', timeStyle: 'medium'})"
            "    .format(new Date(line.dataset.at))]"
        ),
        "times",
    )
    at, when, text, before_it, expected = shown
    assert at.startswith("2") and at.endswith("Z") and text == "one"
    assert when == expected and when in before_it
    # A process's log has none.
    chrome.get(f"{panel.url}/services/talker/log")
    eventually(lambda: "two" in one(chrome, "[data-log]").text, "its log")
    assert not chrome.find_elements(By.CSS_SELECTOR, ".log__line[data-at]")
    chrome.get(f"{panel.url}/services/events")
    eventually(lambda: "a check" in one(chrome, "[data-events]").text, "its trail")

    gateway.stop()
    chrome.get(f"{panel.url}/services/")
    silent = one(chrome, "tr[data-service=gateway]")
    assert "does not answer" in silent.text
    assert "running" in one(chrome, "tr[data-service=steady]").text


def one(browser: Chrome, selector: str) -> WebElement:
    """The first element, as soon as it is there."""
    found: WebElement = eventually(
        lambda: next(iter(browser.find_elements(By.CSS_SELECTOR, selector)), None), selector
    )
    return found


def _rows(chrome: Chrome) -> list[WebElement]:
    return chrome.find_elements(By.CSS_SELECTOR, "[data-services] tr[data-service]")
