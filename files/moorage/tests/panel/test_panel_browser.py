"""The panel in a real browser, for processes and for containers alike."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from control_rig import ControlRig, eventually
from gateway_rig import STACK
from panel_scene import Scene, of_containers, of_processes
from running_panel import PASSWORD, RunningPanel
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from moorage.release.names import BACKUP_NOTE, PROOF_NOTE

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
PAGES = (
    "/services/", "/services/talker/log", "/services/events", "/services/talker/stop", "/sign-in",
)  # fmt: skip


@pytest.fixture(scope="module", params=["processes", "containers"])
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """Services under a supervisor, and the same as containers behind a gateway."""
    make = of_processes if request.param == "processes" else of_containers
    with make(tmp_path_factory.mktemp("s")) as made:
        yield made


@pytest.fixture(scope="module")
def panel(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPanel]:
    """The panel by itself, in front of either."""
    made = RunningPanel(tmp_path_factory.mktemp("b"), scene.control)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def browser(chrome: Chrome, panel: RunningPanel) -> Iterator[Chrome]:
    """The browser, signed in; its console must stay free of errors."""
    chrome.get(f"{panel.url}/health")
    chrome.delete_all_cookies()
    chrome.set_window_size(1280, 900)
    chrome.get(panel.url)
    one(chrome, "#username").send_keys("admin")
    one(chrome, "#password").send_keys(PASSWORD + Keys.ENTER)
    one(chrome, "[data-services]")
    chrome.get_log("browser")
    yield chrome
    errors = [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors, errors


def one(browser: Chrome, selector: str) -> WebElement:
    """The first element, as soon as it is there."""
    found: WebElement = eventually(
        lambda: next(iter(browser.find_elements(By.CSS_SELECTOR, selector)), None), selector
    )
    return found


def said(browser: Chrome, selector: str) -> Callable[[], str]:
    """What an element says, read anew at each call; it may be replaced in between."""
    script = (
        "const found = document.querySelector(arguments[0]);"
        "return found?.checkVisibility() ? found.innerText : ''"
    )
    return lambda: str(browser.execute_script(script, selector))


def row(browser: Chrome, service: str) -> Callable[[], str]:
    """What the table says of a service."""
    return said(browser, f'tr[data-service="{service}"]')


def test_an_action_with_its_reason(browser: Chrome, scene: Scene) -> None:
    before = scene.backend.service("talker").pid
    one(browser, "#restart-talker").click()
    assert one(browser, "dialog[open] #panel-question").text == "Restart talker?"
    assert "done by admin" in one(browser, "dialog[open]").text
    browser.switch_to.active_element.send_keys("a new key" + Keys.ENTER)
    eventually(lambda: "talker: running, PID" in said(browser, "#panel-toast")(), "the outcome")
    after = scene.backend.service("talker").pid
    assert after not in (None, before)
    eventually(lambda: str(after) in row(browser, "talker")(), "the new process")
    noted = next(e for e in reversed(scene.backend.events(limit=30)) if e.kind == "request")
    assert (noted.who, noted.reason) == ("admin", "a new key")

    one(browser, "a[href$='/events']").click()
    rows = said(browser, "[data-events]")
    eventually(lambda: "a new key" in rows(), "the trail")
    one(browser, "[name=only]").click()
    eventually(lambda: "backoff" not in rows() and "waiting" not in rows(), "only requests")
    scene.backend.perform("stop", "talker", who="somebody else", reason="by hand")
    eventually(lambda: "by hand" in rows() and "stopped" in rows(), "the trail goes on by itself")
    scene.backend.perform("start", "talker", who="somebody else")


def test_stop_and_start_keep_the_focus_at_hand(browser: Chrome, scene: Scene) -> None:
    one(browser, "#stop-talker").send_keys(Keys.ENTER)
    one(browser, "dialog[open]")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    eventually(lambda: "stopped" in row(browser, "talker")(), "stopped on the page")
    assert scene.state("talker") == "stopped"
    focused = "return document.activeElement.id"
    eventually(lambda: browser.execute_script(focused) == "start-talker", "the focus")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    one(browser, "dialog[open]")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    eventually(lambda: scene.state("talker") == "running", "started")
    eventually(lambda: browser.execute_script(focused) == "restart-talker", "the focus")


def test_all_at_once(browser: Chrome, scene: Scene) -> None:
    before = {name: scene.backend.service(name).pid for name in ("steady", "talker")}
    one(browser, "#restart-all").click()
    assert "one after the other" in one(browser, "dialog[open] p").text
    one(browser, "dialog[open] button[value=yes]").click()
    told = said(browser, "#panel-toast")
    eventually(lambda: "steady: running" in told() and "talker: running" in told(), "the outcome")
    for name, pid in before.items():
        assert scene.backend.service(name).pid not in (None, pid)


def test_what_was_refused_is_said_and_stays(browser: Chrome, panel: RunningPanel) -> None:
    browser.execute_script(
        "const form = document.querySelector('#restart-talker').form;"
        "form.action = form.action.replace('talker', 'nobody');"
    )
    one(browser, "#restart-talker").click()
    one(browser, "dialog[open] button[value=yes]").click()
    eventually(lambda: "nobody" in said(browser, "#panel-toast")(), "the reason")
    assert "toast--error" in str(one(browser, "#panel-toast").get_attribute("class"))
    one(browser, ".toast__close").click()
    eventually(lambda: not one(browser, "#panel-toast").is_displayed(), "closed")
    # The console notes the answer's status.
    assert [e for e in browser.get_log("browser") if "404" not in e["message"]] == []


def test_figures_are_drawn_and_survive_a_change_of_page(
    browser: Chrome, panel: RunningPanel
) -> None:
    line = "return document.querySelector('[data-service=steady] [data-graph=memory] .spark__line')"
    points = f"{line}?.getAttribute('d').split(/[ML]/).length - 1"
    eventually(lambda: (browser.execute_script(points) or 0) >= 2, "a line", 60)
    before = browser.execute_script(points)
    browser.get(f"{panel.url}/services/steady/log")
    assert browser.execute_script(points) >= before
    label = "return document.querySelector('[data-graph=memory] svg').getAttribute('aria-label')"
    assert "Memory over the last five minutes, at most" in browser.execute_script(label)
    assert "running" in row(browser, "steady")() + said(browser, "h1")()


def test_a_log_is_searched_paused_and_taken_along(
    browser: Chrome, panel: RunningPanel, scene: Scene
) -> None:
    browser.get(f"{panel.url}/services/talker/log")
    log = said(browser, "[data-log]")
    eventually(lambda: said(browser, "#log-state")() == "live", "live")
    for line in ("GET /一 200", "GET /二 404", "get /一 and GET /一"):
        scene.say(line)
    eventually(lambda: "and GET" in log(), "the lines")

    one(browser, "#log-search").send_keys("get /一")
    eventually(lambda: len(browser.find_elements(By.CSS_SELECTOR, "mark")) >= 3, "each is marked")
    assert "404" not in log() and "2 found" in said(browser, "#log-count")()
    one(browser, "#log-only").click()
    eventually(lambda: "404" in log(), "all lines again, the found ones marked")
    one(browser, "#log-search").send_keys(Keys.ENTER)
    assert "200" in one(browser, ".log__line--current").text

    one(browser, "#log-pause").click()
    scene.say("while nobody looks")
    eventually(lambda: "(+1)" in said(browser, "#log-state")(), "it waits")
    assert "while nobody looks" not in log()
    one(browser, "#log-pause").click()
    eventually(lambda: "while nobody looks" in log(), "it appears")
    fetched = browser.execute_async_script(
        "const done = arguments[0];"
        "fetch(document.querySelector('#log-download').href).then((a) => a.text()).then(done)"
    )
    assert "GET /二 404" in fetched


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(browser: Chrome, panel: RunningPanel, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        for path in PAGES:
            browser.get(f"{panel.url}{path}")
            widths: Any = browser.execute_script(
                "const page = document.documentElement;return [page.scrollWidth, page.clientWidth]"
            )
            assert widths[0] <= widths[1], path
            for target in browser.find_elements(By.CSS_SELECTOR, ".button"):
                assert not target.is_displayed() or target.size["height"] >= 31, path
            colour = browser.execute_script(
                "return getComputedStyle(document.body).backgroundColor"
            )
            bright = int(colour.removeprefix("rgb(").partition(",")[0]) > 127
            assert bright == (scheme == "light")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_without_a_script(browser: Chrome, panel: RunningPanel, scene: Scene) -> None:
    before = scene.backend.service("talker").pid
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(f"{panel.url}/services/")
        browser.find_element(By.ID, "restart-talker").click()
        eventually(lambda: "/talker/restart" in browser.current_url, "the question")
        browser.find_element(By.ID, "reason").send_keys("no script")
        browser.find_element(By.CSS_SELECTOR, "form[method=post] .button--main").click()
        shown: Callable[[], bool] = lambda: "talker: running, PID" in browser.page_source  # noqa: E731
        eventually(shown, "the outcome")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert scene.backend.service("talker").pid not in (None, before)


def test_with_the_keyboard_alone(browser: Chrome, panel: RunningPanel) -> None:
    browser.get(f"{panel.url}/services/")
    reached = []
    for _ in range(30):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(str(browser.switch_to.active_element.get_attribute("id")))
        if reached[-1] == "restart-talker":
            break
    # In the order in which they stand, and nothing that is hidden.
    assert reached[-1] == "restart-talker"
    order = [
        "start-all",
        "stop-all",
        "restart-all",
        "restart-steady",
        "stop-steady",
        "start-broken",
    ]
    assert [name for name in reached if name in order] == order
    assert "start-steady" not in reached


def test_it_says_how_backups_and_their_proofs_went(
    browser: Chrome, panel: RunningPanel, scene: Scene, tmp_path: Path
) -> None:
    page = said(browser, "main")
    if scene.notes is None:
        assert "ackup" not in page()
        return
    now = time.time()
    good = {"ok": True, "finished": now, "made": now - 7_265, "message": "", "parts": []}
    proof, backup = (scene.notes / name.format(STACK) for name in (PROOF_NOTE, BACKUP_NOTE))
    backup.write_text(json.dumps(good))
    browser.get(f"{panel.url}/services/")
    assert "No backup is proven yet" in page() and one_flash(browser) == ""
    proof.write_text(json.dumps(good))
    browser.get(f"{panel.url}/services/")
    assert "Newest proven backup: 2 h 1 min old" in page() and one_flash(browser) == ""
    browser.save_screenshot(str(tmp_path / "good.png"))
    part = {"name": "application", "ok": False, "detail": "the gate stayed closed\n  | a log"}
    proof.write_text(json.dumps({**good, "ok": False, "parts": [part]}))
    bad = {**good, "ok": False, "finished": now - 10_805, "message": "the disk is full: make room"}
    backup.write_text(json.dumps(bad))
    browser.get(f"{panel.url}/services/")
    assert one_flash(browser).splitlines() == [
        "The last backup failed 3 h 0 min ago: the disk is full: make room",
        "The last backup is not proven: application: the gate stayed closed",
    ]
    browser.save_screenshot(str(tmp_path / "bad.png"))
    browser.get(f"{panel.url}/language/zh?next=/services/")
    assert "最近一次备份在 3 小时 0 分前失败" in one_flash(browser)
    assert "最近一个通过恢复验证的备份：2 小时 1 分前" in page()
    browser.save_screenshot(str(tmp_path / "zh.png"))
    browser.get(f"{panel.url}/language/en?next=/services/")


def one_flash(browser: Chrome) -> str:
    """What is said loudly, a line each."""
    return "\n".join(e.text for e in browser.find_elements(By.CSS_SELECTOR, ".flash--error"))


def test_the_backend_goes_and_comes_back(
    chrome: Chrome, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rig = ControlRig(tmp_path_factory.mktemp("d"))
    panel = RunningPanel(tmp_path_factory.mktemp("e"), rig.socket)
    panel.start()
    rig.start()
    try:
        chrome.delete_all_cookies()
        chrome.get(panel.url)
        one(chrome, "#username").send_keys("admin")
        one(chrome, "#password").send_keys(PASSWORD + Keys.ENTER)
        eventually(lambda: "running" in row(chrome, "steady")(), "it runs")
        rig.stop()
        notice = said(chrome, "[data-problem]")
        eventually(lambda: "cannot be seen at the moment" in notice(), "it says so")
        assert "control.sock" in notice()
        assert chrome.execute_script("return document.querySelector('[data-services]').inert")
        chrome.get(f"{panel.url}/services/")
        assert "cannot be seen at the moment" in notice()
        rig.start()
        eventually(lambda: "running" in row(chrome, "steady")() and not notice(), "it is back")
    finally:
        panel.stop()
        rig.stop()
        chrome.get_log("browser")
