"""What the application is for, whatever the topology: articles on their way to visitors."""

from __future__ import annotations

from support import Machine, wait_until
from tg2em_site import PICTURES, administrator, articles, ensure_content, pictures, visitor


def test_an_article_travels_from_the_channel_to_the_front_page(settled: Machine) -> None:
    ensure_content(settled)
    page = visitor(settled).get("/")
    assert page.status == 200 and "流浪地球" in page.text
    assert {"三体 全集 4K 修复版", "蓝色星球 纪录片"} <= {a["name"] for a in articles(settled)}
    shown = pictures(settled)
    assert len(shown) == 5
    for path, picture in shown.items():
        assert picture[:4] == b"RIFF" and picture[8:12] == b"WEBP"
        direct = visitor(settled, PICTURES).get(path)
        assert direct.headers["Content-Type"] == "image/webp"
        assert direct.body == picture, "the image service serves the same picture itself"


def test_it_can_be_searched(settled: Machine) -> None:
    ensure_content(settled)
    found = visitor(settled).get("/search?q=%E4%B8%89%E4%BD%93")
    assert found.status == 200 and "三体" in found.text
    assert "蓝色星球" not in found.text


def test_nobody_gets_in_with_a_guess(settled: Machine) -> None:
    someone = visitor(settled)
    for guess in ("admin", "password", ""):
        assert someone.post("/dm", "/dm", username="admin", password=guess).status == 401
    assert "/dm" in someone.get("/admin").url
    asked = someone.get("/admin/services/frontend/status", accept="application/json")
    assert asked.status == 401
    # A form without the page's token is nobody's intention.
    forged = administrator(settled).send("/admin/services/scraper/stop")
    assert forged.status in (400, 403)


def test_the_admin_page_shows_the_log_that_is_written(settled: Machine) -> None:
    mark = "/health?seen=on-the-admin-page"
    assert visitor(settled).get(mark).status == 200
    someone = administrator(settled)
    wait_until(
        "the request is in the log",
        lambda: mark in someone.get("/admin/services/frontend/log").text,
        seconds=10,
    )
