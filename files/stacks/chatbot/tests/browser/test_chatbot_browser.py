"""A visitor and the administrator, in real browsers on a server that really runs."""

from chatbot_rig import ADMIN_PASSWORD, Server, eventually
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


def one(browser: Chrome, selector: str) -> WebElement:
    """The first element, as soon as it is there."""
    found: WebElement = eventually(
        lambda: next(iter(browser.find_elements(By.CSS_SELECTOR, selector)), None),
        lambda: selector,
    )
    return found


def text(browser: Chrome) -> str:
    """What the page says."""
    return str(browser.execute_script("return document.body.innerText"))


def says(browser: Chrome, what: str) -> None:
    """The page says that before long."""
    eventually(lambda: what in text(browser), lambda: f"{what!r} is not in {text(browser)!r}")


def no_sideways_scrolling(browser: Chrome) -> None:
    """The page must not be wider than the window."""
    widths = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert widths[0] <= widths[1]


def test_a_conversation_on_a_phone(browser: Chrome, site: Server) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    browser.get(f"{site.url}/language/zh?next=/")
    one(browser, "#question").send_keys("怎么退款" + Keys.ENTER)
    says(browser, "请在订单页面点击“申请退款”。")
    no_sideways_scrolling(browser)
    one(browser, "#question").send_keys("<b>快递</b>" + Keys.ENTER)
    says(browser, "没有找到相关答案")
    assert "<b>快递</b>" in text(browser), "it is text, not markup"
    one(browser, "#person").click()
    says(browser, "人工客服会在这里回复")
    # The page knows its conversation after it is loaded anew.
    browser.get(site.url)
    says(browser, "怎么退款")
    visitor = browser.current_window_handle

    browser.switch_to.new_window("tab")
    browser.get(f"{site.url}/login")
    one(browser, "#username").send_keys("admin")
    one(browser, "#password").send_keys(ADMIN_PASSWORD + Keys.ENTER)
    says(browser, "等待人工的会话")
    no_sideways_scrolling(browser)
    assert "<b>快递</b>" in one(browser, "#unanswered").text
    one(browser, "a[href='/admin/conversations/1']").click()
    one(browser, "#answer textarea").send_keys("您好，我是小王")
    one(browser, "#answer .main").click()
    says(browser, "返回智能助手")

    browser.switch_to.window(visitor)
    says(browser, "您好，我是小王")
    one(browser, "#bot").click()
    one(browser, "#erase").click()
    browser.switch_to.alert.accept()
    says(browser, "会话已删除")
    assert "小王" not in text(browser)
    browser.get(site.url)
    assert "退款" not in text(browser)
