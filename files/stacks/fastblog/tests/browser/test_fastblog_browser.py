"""An author and a reader, in a real browser on a server that really runs."""

from fastblog_rig import PASSWORD, eventually
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


def one(browser: Chrome, selector: str) -> WebElement:
    """The first element, as soon as it is there."""
    found: WebElement = eventually(
        lambda: next(iter(browser.find_elements(By.CSS_SELECTOR, selector)), None),
        lambda: f"{selector} is not in {browser.page_source[:3000]}",
    )
    return found


def says(browser: Chrome, what: str) -> None:
    """The page says that before long."""

    def text() -> str:
        return str(browser.execute_script("return document.body.innerText"))

    eventually(lambda: what in text(), lambda: f"{what!r} is not in {text()!r}")


def test_an_author_writes_and_a_reader_answers(browser: Chrome, site: str) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    browser.get(f"{site}/sign-in")
    one(browser, "#username").send_keys("admin")
    one(browser, "#password").send_keys(PASSWORD + Keys.ENTER)
    says(browser, "Nothing here yet.")
    browser.get(f"{site}/admin/posts/new")
    one(browser, "input[name=title]").send_keys("部署 FastBlog")
    one(browser, "textarea[name=body]").send_keys("It is **bold**. <script>alert(1)</script>")
    one(browser, "button[value=preview]").click()
    assert one(browser, "#preview strong").text == "bold"
    assert "<script>alert(1)</script>" in one(browser, "#preview").text, "it is text"
    one(browser, "button[value=publish]").click()
    says(browser, "Published.")
    assert one(browser, "input[name=slug]").get_attribute("value") == "部署-fastblog"

    browser.get(f"{site}/admin/settings")
    Select(one(browser, "#theme")).select_by_value("slate")
    one(browser, "#save").click()
    says(browser, "Saved.")
    dark = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert dark == "rgb(16, 21, 28)"

    browser.get(f"{site}/admin/services/")
    says(browser, "cannot be seen at the moment")
    browser.get(f"{site}/language/zh?next=/search%3Fq%3D部署")
    one(browser, "article h2 a").click()
    one(browser, "form input[name=name]").send_keys("小王")
    assert not one(browser, "input[name=website]").is_displayed() or (
        one(browser, "input[name=website]").rect["x"] < 0
    )
    one(browser, "#comments textarea").send_keys("写得好")
    one(browser, "#comments .main").click()
    says(browser, "谢谢")
    widths = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert widths[0] <= widths[1]
    one(browser, "#sign-out").click()
    one(browser, "#username")
