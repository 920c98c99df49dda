"""What visitors and programs are given."""

import re

import pytest
from flask.testing import FlaskClient


def test_the_front_page_shows_the_newest_with_everything_on_a_card(client: FlaskClient) -> None:
    page = client.get("/").text

    cards = re.findall(r'<article class="card">.*?</article>', page, re.S)
    assert len(cards) == 24
    assert 'href="/article/30"' in cards[0] and "资源 30" in cards[0]
    assert "Baidu" in cards[0] and "2GB" in cards[0]
    assert '<img src="/d/abc"' in cards[1]
    assert 'href="/tag/%E7%94%B5%E5%BD%B1"' in cards[1]
    assert "<b>" not in cards[0] and "&lt;b&gt;" in cards[0]
    assert "30 in all" in page


def test_pages_lead_to_each_other(client: FlaskClient) -> None:
    first, second = client.get("/").text, client.get("/?page=2").text
    assert 'rel="next" href="/?page=2"' in first
    assert 'rel="prev" href="/?page=1"' in second
    assert second.count('<article class="card">') == 6
    assert client.get("/?page=elsewhere").status_code == 200


def test_search_tag_and_category(client: FlaskClient) -> None:
    found = client.get("/search?q=资源 17").text
    assert found.count('<article class="card">') == 1 and "/article/17" in found
    assert "Nothing was found" in client.get("/search?q=nowhere").text
    assert "20 in all" in client.get("/tag/电影").text
    assert "10 in all" in client.get("/tag/C++").text
    assert "10 in all" in client.get("/?category=baidu").text
    assert "30 in all" in client.get("/?category=unknown").text


def test_an_article(client: FlaskClient) -> None:
    page = client.get("/article/2").text
    assert 'href="https://pan.quark.cn/s/x"' in page and "noopener" in page
    assert "演示频道" in page
    # Only http and https are links.
    assert "javascript:" not in client.get("/article/1").text
    assert "has no link" in client.get("/article/1").text


@pytest.mark.parametrize("path", ["/article/999", "/article/x", "/nowhere", "/static/none.css"])
def test_what_is_not_there(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404 and "Nothing here" in answer.text


def test_a_visitor_gets_no_cookie(client: FlaskClient) -> None:
    for path in ("/", "/article/2", "/search?q=x", "/api/articles"):
        assert "Set-Cookie" not in client.get(path).headers, path


def test_the_language_is_the_browser_s_until_somebody_chooses(client: FlaskClient) -> None:
    assert "Newest resources" in client.get("/").text
    chinese = client.get("/", headers={"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.5"}).text
    assert "最新资源" in chinese and '<html lang="zh-CN">' in chinese

    answer = client.get("/language/zh?next=/article/2")
    assert (answer.status_code, answer.location) == (303, "/article/2")
    assert "打开网盘链接" in client.get("/article/2").text
    assert client.get("/language/xx").status_code == 404


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_the_language_switch_leads_nowhere_else(client: FlaskClient, target: str) -> None:
    answer = client.get("/language/en", query_string={"next": target})
    assert answer.location == "/"


def test_the_api_pages_through_everything(client: FlaskClient) -> None:
    body = client.get("/api/articles?page=2&limit=12").get_json()
    assert (body["page"], body["limit"], body["pages"], body["total"]) == (2, 12, 3, 30)
    assert [a["id"] for a in body["articles"]] == list(range(18, 6, -1))
    assert client.get("/api/articles?limit=1000").get_json()["limit"] == 100
    assert client.get("/api/articles?q=资源&tag=C%2B%2B").get_json()["total"] == 10


def test_the_api_s_article(client: FlaskClient) -> None:
    body = client.get("/api/article/29").get_json()
    assert body["title"] == "资源 29 <b>"
    assert body["tags"] == ["电影", "C++"]
    assert (body["category"], body["channel"], body["image"]) == ("quark", "demo", "/d/abc")
    assert client.get("/api/article/1").get_json()["link"] == ""


def test_the_api_s_totals(client: FlaskClient) -> None:
    body = client.get("/api/stats").get_json()
    assert body["articles"] == 30 and body["channels"] == 1
    assert body["by_category"]["baidu"] == 10


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/article/999", 404),
        ("/api/articles?page=0", 400),
        ("/api/articles?limit=x", 400),
        ("/api/articles?category=floppy", 400),
        ("/api/nothing", 404),
    ],
)
def test_the_api_s_errors_are_problem_documents(
    client: FlaskClient, path: str, status: int
) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    body = answer.get_json()
    assert body["status"] == status and body["title"] and body["instance"] == path.split("?")[0]


def test_metrics(client: FlaskClient) -> None:
    client.get("/")
    text = client.get("/metrics").text
    assert 'tg2em_articles{category="baidu"} 10.0' in text
    assert "tg2em_channels 1.0" in text
    assert re.search(
        r'requests_total\{endpoint="public.index",method="GET",status="200"\} \d', text
    )
