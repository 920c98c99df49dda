"""The administration's forms really change the database."""

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from tg2em_core import options
from tg2em_core.db import SessionFactory, transaction
from tg2em_core.models import (
    Article,
    Channel,
    Message,
    SignInState,
    Source,
    TelegramSignIn,
)
from tg2em_frontend.channels import channel_name


def test_the_dashboard_says_when_the_supervisor_is_away(admin: FlaskClient) -> None:
    page = admin.get("/admin")
    assert page.status_code == 200
    assert "cannot be seen at the moment" in page.text and "control.sock" in page.text
    assert "<b>30</b>" in page.text


def test_the_seed_s_routes(admin: FlaskClient) -> None:
    headers = {"Accept": "application/json"}
    for action in ("start", "stop", "restart"):
        answer = admin.post(f"/admin/services/scraper/{action}", headers=headers)
        assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert admin.get("/admin/services/scraper/status", headers=headers).status_code == 503


def test_editing_an_article(admin: FlaskClient, empty: SessionFactory) -> None:
    form = {
        "name": "新名称 " + "长" * 40,
        "description": "一\r\n二",
        "link": "https://www.alipan.com/s/1",
        "tags": "新, 电影，",
    }
    assert admin.post("/admin/articles/5", data=form).status_code == 303

    page = admin.get("/article/5").text
    assert "新名称" in page and "alipan.com" in page
    with empty() as session:
        article = session.get(Article, 5)
        assert article is not None
        assert article.locked and len(article.title) == 24
        assert article.description == "一\n二"
        assert [tag.name for tag in article.tags] == ["电影", "新"]
    assert "/article/5" in admin.get("/search?q=新名称").text


@pytest.mark.parametrize(
    "form", [{"name": "", "link": ""}, {"name": "x", "link": "javascript:alert(1)"}]
)
def test_a_wrong_article_is_not_saved(
    admin: FlaskClient, empty: SessionFactory, form: dict[str, str]
) -> None:
    assert admin.post("/admin/articles/5", data=form).status_code == 422
    with empty() as session:
        article = session.get(Article, 5)
        assert article is not None and article.name == "资源 5 <b>"


def test_deleting_and_putting_back(admin: FlaskClient) -> None:
    page = admin.post("/admin/articles/7/delete", follow_redirects=True).text
    assert "Put it back" in page and 'action="/admin/articles/7/restore"' in page
    for path in ("/article/7", "/api/article/7", "/admin/articles/7"):
        assert admin.get(path).status_code == 404
    assert admin.get("/api/articles").get_json()["total"] == 29

    assert admin.post("/admin/articles/7/restore").status_code == 303
    assert admin.get("/article/7").status_code == 200


def test_searching_articles(admin: FlaskClient) -> None:
    page = admin.get("/admin/articles?q=资源 17").text
    assert page.count("/admin/articles/17/delete") == 1
    assert "/admin/articles/16/delete" not in page


def test_settings_of_a_group(admin: FlaskClient, empty: SessionFactory) -> None:
    form = {
        "group": "scraper",
        "scraper_interval": "60",
        "scraper_base_url": "https://preview.example/",
        "scraper_backfill_pages": "2",
        "scraper_blocked_tags": "广告, #spam",
    }
    assert admin.post("/admin/settings", data=form).status_code == 303
    with empty() as session:
        found = options.load(session, {})
    assert not found.scraper_enabled
    assert (found.scraper_interval, found.scraper_base_url) == (60, "https://preview.example")
    assert found.scraper_blocked_tags == ("广告", "spam")
    assert found.site_title == "tg2em"


def test_a_wrong_setting_says_which(admin: FlaskClient, empty: SessionFactory) -> None:
    form = {"group": "site", "site_title": "新站", "site_page_size": "0"}
    answer = admin.post("/admin/settings", data=form)
    assert answer.status_code == 422 and "Articles on a page" in answer.text
    with empty() as session:
        assert options.load(session, {}).site_title == "tg2em"


def test_the_image_service_s_password_never_leaves(
    admin: FlaskClient, empty: SessionFactory
) -> None:
    form = {
        "group": "images",
        "picture_enabled": "on",
        "picture_max_edge": "800",
        "picture_quality": "70",
        "tgstate_url": "http://tgstate:8088",
        "tgstate_public_url": "https://img.example.com",
        "tgstate_password": "hidden-word",
    }
    assert admin.post("/admin/settings", data=form).status_code == 303
    assert "hidden-word" not in admin.get("/admin/settings").text
    # An empty field leaves it as it was.
    admin.post("/admin/settings", data=form | {"tgstate_password": ""})
    with empty() as session:
        assert options.load(session, {}).tgstate_password == "hidden-word"
    cleared = {"tgstate_password": "", "tgstate_password_clear": "on"}
    admin.post("/admin/settings", data=form | cleared)
    with empty() as session:
        assert options.load(session, {}).tgstate_password == ""

    page = admin.get("/")
    assert 'src="https://img.example.com/d/abc"' in page.text
    assert "https://img.example.com" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("@example_channel", "example_channel"),
        ("https://t.me/s/Example?before=7", "Example"),
        ("t.me/example/123", "example"),
        ("telegram.me/example", "example"),
        ("ex", ""),
        ("例子频道", ""),
        ("../../etc", ""),
    ],
)
def test_a_channel_s_name_from_what_people_paste(given: str, name: str) -> None:
    assert channel_name(given) == name


def test_adding_changing_and_removing_a_channel(admin: FlaskClient, empty: SessionFactory) -> None:
    admin.post("/admin/channels", data={"name": "https://t.me/s/another", "source": "account"})
    with empty() as session:
        added = session.scalars(select(Channel).where(Channel.name == "another")).one()
        assert added.source is Source.ACCOUNT and added.enabled
    again = admin.post("/admin/channels", data={"name": "another"}, follow_redirects=True)
    assert "there already" in again.text

    admin.post(f"/admin/channels/{added.id}", data={"enabled": "0", "source": "preview"})
    with empty() as session:
        changed = session.get(Channel, added.id)
        assert changed is not None
        assert not changed.enabled and changed.source is Source.PREVIEW
    admin.post(f"/admin/channels/{added.id}/delete")
    with empty() as session:
        assert session.get(Channel, added.id) is None


def test_a_channel_with_messages_stays(admin: FlaskClient, empty: SessionFactory) -> None:
    with transaction(empty) as session:
        session.add(Message(id=1, channel_id=1, message_id=1))
    page = admin.post("/admin/channels/1/delete", follow_redirects=True).text
    assert "switch it off instead" in page
    with empty() as session:
        assert session.get(Channel, 1) is not None


def _state(sessions: SessionFactory, **changes: object) -> TelegramSignIn:
    """Return the dialogue's row, after the scraper's answer if there is one."""
    with transaction(sessions) as session:
        row = session.get(TelegramSignIn, 1)
        assert row is not None
        for name, value in changes.items():
            setattr(row, name, value)
    return row


def test_signing_in_to_telegram_step_by_step(admin: FlaskClient, empty: SessionFactory) -> None:
    begin = {"step": "begin", "api_id": "12345", "api_hash": "a" * 32, "phone": "+86 138-0000 0000"}
    admin.post("/admin/telegram", data=begin)
    row = _state(empty)
    assert (row.state, row.api_id, row.phone) == (SignInState.REQUESTED, 12345, "+8613800000000")
    assert "a" * 32 not in admin.get("/admin/telegram").text

    _state(empty, state=SignInState.CODE_NEEDED)
    assert 'name="code"' in admin.get("/admin/telegram").text
    admin.post("/admin/telegram", data={"step": "code", "code": "123 45"})
    assert (_state(empty).state, _state(empty).code) == (SignInState.CODE_GIVEN, "12345")

    _state(empty, state=SignInState.PASSWORD_NEEDED)
    admin.post("/admin/telegram", data={"step": "password", "password": "two step"})
    assert _state(empty).state is SignInState.PASSWORD_GIVEN

    _state(empty, state=SignInState.SIGNED_IN, account="@ada", password="")
    assert "Signed in as @ada" in admin.get("/admin/telegram").text
    assert admin.get("/admin/telegram/status").get_json()["state"] == "signed_in"
    admin.post("/admin/telegram", data={"step": "out"})
    assert _state(empty).state is SignInState.SIGNED_OUT


@pytest.mark.parametrize(
    "form",
    [
        {"step": "begin", "api_id": "x", "api_hash": "a" * 32, "phone": "+8613800000000"},
        {"step": "begin", "api_id": "1", "api_hash": "short", "phone": "+8613800000000"},
        {"step": "begin", "api_id": "1", "api_hash": "a" * 32, "phone": "13800000000"},
        {"step": "code", "code": "12345"},
        {"step": "password", "password": "x"},
        {"step": "elsewhere"},
    ],
)
def test_a_step_that_does_not_fit_changes_nothing(
    admin: FlaskClient, empty: SessionFactory, form: dict[str, str]
) -> None:
    page = admin.post("/admin/telegram", data=form, follow_redirects=True)
    assert "flash--error" in page.text
    with empty() as session:
        assert session.get(TelegramSignIn, 1) is None


def test_every_page_is_there_in_both_languages(admin: FlaskClient) -> None:
    for code, word in (("en", "Sign out"), ("zh", "退出")):
        admin.get(f"/language/{code}")
        for path in ("", "/articles", "/articles/3", "/channels", "/telegram", "/settings"):
            page = admin.get(f"/admin{path}")
            assert page.status_code == 200 and word in page.text, path
