"""A person's way through the board, in a real browser on a site that really runs."""

from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from taifish_rig import ADMIN_PASSWORD, Site, eventually

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


def one(browser: Chrome, selector: str) -> WebElement:
    """The first element, as soon as it is there."""
    found: WebElement = eventually(
        lambda: next(iter(browser.find_elements(By.CSS_SELECTOR, selector)), None), selector
    )
    return found


def text(browser: Chrome) -> str:
    """What the page says."""
    return str(browser.execute_script("return document.body.innerText"))


def no_sideways_scrolling(browser: Chrome) -> None:
    """The page must not be wider than the window."""
    widths = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert widths[0] <= widths[1]


def test_from_signing_up_to_a_picture(browser: Chrome, site: Site, tmp_path: Path) -> None:
    picture = tmp_path / "cat.png"
    Image.linear_gradient("L").resize((900, 600)).convert("RGB").save(picture)

    browser.get(f"{site.url}/signup")
    one(browser, "#username").send_keys("摸鱼")
    one(browser, "#password").send_keys("correct horse battery" + Keys.ENTER)
    eventually(lambda: "摸鱼" in text(browser), "signed up")

    browser.get(f"{site.url}/b/lobby")
    one(browser, "#post [name=title]").send_keys("A cat")
    one(browser, "#post [name=body]").send_keys("On the mat")
    one(browser, "#post [name=picture]").send_keys(str(picture))
    one(browser, "#post .main").click()
    eventually(lambda: "/p/" in browser.current_url, "posted")
    shown = "const i = document.querySelector('img.picture'); return i && i.naturalWidth"
    assert eventually(lambda: browser.execute_script(shown), "the picture") > 0

    one(browser, "#comment textarea").send_keys("Purr")
    one(browser, "#comment .main").click()
    eventually(lambda: "Purr" in text(browser), "commented")

    def thumb() -> bool:
        browser.get(site.url)
        script = "const i = document.querySelector('img.thumb'); return !!i && i.naturalWidth > 0"
        return bool(browser.execute_script(script))

    eventually(thumb, "the thumbnail")
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    for path in ("/", "/b/lobby", "/account", "/login"):
        browser.get(f"{site.url}{path}")
        no_sideways_scrolling(browser)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    browser.get(f"{site.url}/b/lobby")
    one(browser, "#export").click()
    assert one(browser, "#download").text == "Download"
    one(browser, "#sign-out").click()
    eventually(lambda: "Sign in" in text(browser), "signed out")


def test_the_administration_in_chinese(browser: Chrome, site: Site) -> None:
    browser.get(f"{site.url}/language/zh?next=/login")
    one(browser, "#username").send_keys("admin")
    one(browser, "#password").send_keys(ADMIN_PASSWORD + Keys.ENTER)
    eventually(lambda: "退出" in text(browser), "signed in")
    browser.get(f"{site.url}/admin")
    assert "等待中的消息" in text(browser) and one(browser, "#failed").text == "0"
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    no_sideways_scrolling(browser)
