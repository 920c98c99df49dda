"""A person's way through tg2em, in a real browser on a site that really runs."""

from collections.abc import Callable
from typing import Any

import pytest
from running_site import ADMIN, PASSWORD, RunningSite, eventually
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

PHONE = (390, 844)


def one(browser: Chrome, selector: str) -> WebElement:
    """The first element, as soon as it is there."""
    found: WebElement = eventually(
        lambda: next(iter(browser.find_elements(By.CSS_SELECTOR, selector)), None), selector
    )
    return found


def text(browser: Chrome) -> str:
    """What the page says."""
    # In one go: an element that was found a moment ago may belong to the page before.
    script = "return document.readyState === 'complete' ? document.body.innerText : ''"
    return str(browser.execute_script(script))


def sign_in(browser: Chrome, site: RunningSite, password: str = PASSWORD) -> None:
    """Fill the form in and send it."""
    browser.get(f"{site.url}/dm")
    one(browser, "#username").clear()
    one(browser, "#username").send_keys(ADMIN)
    one(browser, "#password").send_keys(password + Keys.ENTER)
    eventually(lambda: "/admin" in browser.current_url or "Wrong" in text(browser), "an answer")


def row(browser: Chrome, service: str) -> Callable[[], str]:
    """What the table says of a service, read anew at each call."""
    script = "return document.querySelector(arguments[0])?.innerText ?? ''"
    return lambda: str(browser.execute_script(script, f'tr[data-service="{service}"]'))


def press(browser: Chrome, action: str, service: str) -> None:
    """Press a service's button and answer the question with yes."""
    one(browser, f"#{action}-{service}").click()
    question = one(browser, "dialog[open] p").text
    assert service in question
    one(browser, 'dialog[open] button[value="yes"]').click()


def no_sideways_scrolling(browser: Chrome) -> None:
    """The page must not be wider than the window."""
    widths: Any = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert widths[0] <= widths[1]


def test_a_visitor_finds_a_resource(browser: Chrome, site: RunningSite) -> None:
    browser.get(site.url)
    assert len(browser.find_elements(By.CSS_SELECTOR, ".card")) == 5
    widths = eventually(
        lambda: browser.execute_script(
            "const all = [...document.querySelectorAll('.card img')];"
            "return all.length === 5 && all.slice(0, 4).every((i) => i.naturalWidth > 0)"
        ),
        "the pictures",
    )
    assert widths

    one(browser, "#q").send_keys("三体" + Keys.ENTER)
    eventually(lambda: "/search" in browser.current_url, "the search")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".card")) == 1
    one(browser, ".card__title a").click()
    link = one(browser, ".story .button--main")
    assert link.get_attribute("href") == "https://pan.quark.cn/s/0123abcd"
    assert "38.5GB" in text(browser)


def test_a_wrong_password_stays_outside(browser: Chrome, site: RunningSite) -> None:
    sign_in(browser, site, "not this one")
    assert "Wrong name or password." in text(browser)
    # The console notes the status of the page itself.
    assert [e for e in browser.get_log("browser") if "401" not in e["message"]] == []
    browser.get(f"{site.url}/admin")
    assert browser.current_url.startswith(f"{site.url}/dm")


def test_the_dashboard_tells_the_truth(browser: Chrome, site: RunningSite) -> None:
    sign_in(browser, site)
    for name in ("frontend", "scraper"):
        shown = row(browser, name)()
        assert str(site.control.status(name)["pid"]) in shown and "running" in shown
    assert "failed" in row(browser, "broken")()
    assert "the configuration file is missing" in text(browser)


def test_stopping_and_starting_the_scraper(browser: Chrome, site: RunningSite) -> None:
    sign_in(browser, site)
    shown = row(browser, "scraper")
    before = site.control.status("scraper")["pid"]

    press(browser, "stop", "scraper")
    eventually(lambda: "stopped" in shown(), "stopped on the page")
    assert site.state("scraper") == "STOPPED"
    eventually(lambda: "scraper: stopped" in one(browser, "#panel-toast").text, "the outcome")

    press(browser, "start", "scraper")
    eventually(lambda: "running" in shown(), "running on the page")
    after = site.control.status("scraper")
    assert after["state"] == "RUNNING" and after["pid"] != before
    eventually(lambda: str(after["pid"]) in shown(), "the new process on the page")


def test_no_means_no(browser: Chrome, site: RunningSite) -> None:
    sign_in(browser, site)
    before = site.control.status("scraper")["pid"]
    one(browser, "#restart-scraper").click()
    one(browser, "dialog[open]")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    eventually(lambda: not browser.find_elements(By.CSS_SELECTOR, "dialog[open]"), "closed")
    assert site.control.status("scraper")["pid"] == before


def test_the_page_notices_what_happens_elsewhere(browser: Chrome, site: RunningSite) -> None:
    sign_in(browser, site)
    site.control.restart("scraper", who="somebody else")
    pid = str(site.control.status("scraper")["pid"])
    eventually(lambda: pid in row(browser, "scraper")(), "the new process")


def test_a_failed_start_shows_its_reason(browser: Chrome, site: RunningSite) -> None:
    sign_in(browser, site)
    press(browser, "start", "broken")
    eventually(lambda: "restart_limit" in row(browser, "broken")(), "the reason")


def test_restarting_the_front_end_from_its_own_page(browser: Chrome, site: RunningSite) -> None:
    sign_in(browser, site)
    before = site.control.status("frontend")["pid"]
    press(browser, "restart", "frontend")
    eventually(
        lambda: (
            site.state("frontend") == "RUNNING" and site.control.status("frontend")["pid"] != before
        ),
        "a new front end",
        # Less than gunicorn's graceful timeout, which it once waited for.
        10,
    )
    pid = str(site.control.status("frontend")["pid"])
    eventually(lambda: pid in row(browser, "frontend")(), "the page is back by itself", 90)
    # While it was away its requests failed, which the console may well say.
    browser.get_log("browser")


def test_stopping_does_not_wait_for_a_log_that_is_read(browser: Chrome, site: RunningSite) -> None:
    sign_in(browser, site)
    browser.get(f"{site.url}/admin/services/scraper/log")
    eventually(lambda: one(browser, "#log-state").text == "live", "live")
    site.control.restart("frontend", wait=10.0)
    eventually(lambda: one(browser, "#log-state").text == "live", "live again")
    browser.get_log("browser")


def test_a_live_log(browser: Chrome, site: RunningSite) -> None:
    sign_in(browser, site)
    browser.get(f"{site.url}/admin/services/scraper/log")
    eventually(lambda: one(browser, "#log-state").text == "live", "live")
    eventually(lambda: "demo: " in one(browser, "[data-log]").text, "what was there")

    one(browser, "#log-pause").click()
    site.control.restart("scraper")
    pid = str(site.control.status("scraper")["pid"])
    eventually(lambda: "(+" in one(browser, "#log-state").text, "lines wait")
    assert f"process {pid}" not in one(browser, "[data-log]").text
    one(browser, "#log-pause").click()
    eventually(lambda: f"process {pid}" in one(browser, "[data-log]").text, "they appear")

    one(browser, "#log-search").send_keys(f"PROCESS {pid}")
    eventually(lambda: browser.find_elements(By.CSS_SELECTOR, "[data-log] mark"), "marked")
    shown = one(browser, "[data-log]").text.splitlines()
    assert shown and all(f"process {pid}" in line for line in shown)


def test_editing_an_article(browser: Chrome, site: RunningSite) -> None:
    sign_in(browser, site)
    browser.get(f"{site.url}/admin/articles?q=编程珠玑")
    one(browser, "tbody a").click()
    name = one(browser, "#name")
    name.clear()
    name.send_keys("编程珠玑 第二版")
    one(browser, "form .button--main").click()
    eventually(lambda: "Saved." in text(browser), "saved")
    browser.get(f"{site.url}/search?q=第二版")
    assert one(browser, ".card__title").text == "编程珠玑 第二版"


def test_deleting_an_article_and_putting_it_back(browser: Chrome, site: RunningSite) -> None:
    sign_in(browser, site)
    browser.get(f"{site.url}/admin/articles?q=流浪地球")
    one(browser, "tbody .button--bad").click()
    eventually(lambda: "The article is deleted." in text(browser), "deleted")
    one(browser, ".link-button").click()
    eventually(lambda: "The article is back." in text(browser), "back")


def test_in_chinese(browser: Chrome, site: RunningSite) -> None:
    browser.get(site.url)
    one(browser, ".top__links a").click()
    eventually(lambda: "最新资源" in text(browser), "Chinese")
    sign_in(browser, site)
    assert "运行中" in row(browser, "scraper")()
    one(browser, "#stop-scraper").click()
    assert "停止 scraper？" in one(browser, "dialog[open] p").text
    one(browser, 'dialog[open] button[value=""]').click()


@pytest.mark.parametrize(
    "path",
    ["/", "/search?q=三体", "/dm", "/admin", "/admin/services/", "/admin/services/scraper/log",
     "/admin/services/events", "/admin/articles", "/admin/channels", "/admin/telegram",
     "/admin/settings"],
)  # fmt: skip
def test_on_a_phone(browser: Chrome, site: RunningSite, path: str) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": PHONE[0], "height": PHONE[1], "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        if path.startswith("/admin"):
            sign_in(browser, site)
        browser.get(f"{site.url}{path}")
        no_sideways_scrolling(browser)
        for target in browser.find_elements(By.CSS_SELECTOR, ".button"):
            assert not target.is_displayed() or target.size["height"] >= 31
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_with_the_keyboard_alone(browser: Chrome, site: RunningSite) -> None:
    sign_in(browser, site)
    browser.get(f"{site.url}/admin")
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the content"
    for _ in range(40):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if browser.switch_to.active_element.get_attribute("id") == "restart-scraper":
            break
    else:
        raise AssertionError("the button is not within reach")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    one(browser, "dialog[open]")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
