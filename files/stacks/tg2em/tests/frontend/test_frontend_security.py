"""What must not be possible."""

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import tg2em_frontend
from flask import Flask
from flask.testing import FlaskClient
from tg2em_core import migrate
from tg2em_core.db import SessionFactory, transaction
from tg2em_core.models import LoginAttempt
from tg2em_frontend.app import create_app
from tg2em_frontend.config import FrontendConfig

PROTECTED = [
    "/admin",
    "/admin/articles",
    "/admin/articles/1",
    "/admin/channels",
    "/admin/settings",
    "/admin/telegram",
    "/admin/telegram/status",
    "/admin/services/",
    "/admin/services/status",
    "/admin/services/scraper/status",
    "/admin/services/scraper/log/stream",
]


def test_every_response_has_the_headers(client: FlaskClient) -> None:
    for path in ("/", "/health", "/dm", "/nowhere", "/static/site.css", "/api/articles"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
    assert client.get("/dm").headers["Cache-Control"] == "no-store"


def test_no_template_needs_what_the_policy_forbids() -> None:
    import moorage.panel

    folders = [Path(tg2em_frontend.__file__).parent, Path(moorage.panel.__file__).parent]
    for folder in folders:
        for file in folder.rglob("*.html"):
            text = file.read_text()
            assert not re.search(r"\sstyle=|\son\w+=|<script>|<style|javascript:", text), file


@pytest.mark.parametrize("path", PROTECTED)
def test_nothing_is_shown_without_signing_in(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 302 and answer.location.startswith("/dm?next=/admin")
    program = client.get(path, headers={"Accept": "application/json"})
    assert (program.status_code, program.content_type) == (401, "application/problem+json")


def test_signing_in_leads_where_one_wanted_to_go(
    client: FlaskClient, sign_in: Callable[..., int]
) -> None:
    assert sign_in(client) == 303
    assert "admin" in client.get("/admin").text
    assert client.get("/dm?next=/admin/settings").location == "/admin/settings"
    assert client.get("/dm?next=//evil.example").location == "/admin"


def test_the_session_cookie(app: Flask, client: FlaskClient, sign_in: Callable[..., int]) -> None:
    sign_in(client)
    cookie = client.get_cookie("tg2em")
    assert cookie is not None and cookie.http_only and cookie.same_site == "Lax"
    assert not cookie.secure

    secure = app.test_client()
    page = secure.get("/dm", base_url="https://tg2em.example")
    assert "Secure" in page.headers["Set-Cookie"]
    assert "max-age" in page.headers["Strict-Transport-Security"]


def test_only_what_changes_the_session_sends_its_cookie(admin: FlaskClient) -> None:
    # A late answer to an earlier request would otherwise undo a later one's change.
    for path in ("/admin", "/d/abc", "/", "/static/site.css"):
        assert "Set-Cookie" not in admin.get(path).headers, path


def test_a_wrong_password_says_nothing_about_the_name(
    client: FlaskClient, sign_in: Callable[..., int]
) -> None:
    assert sign_in(client, "wrong") == 401
    assert client.get("/admin").status_code == 302


def test_too_many_failures_are_refused_in_every_worker(
    config: FrontendConfig, client: FlaskClient, sign_in: Callable[..., int]
) -> None:
    assert [sign_in(client, "wrong") for _ in range(4)] == [401, 401, 401, 429]
    # Another worker is another application on the same database; the right password is no way in.
    assert sign_in(create_app(config).test_client()) == 429
    answer = client.post("/dm", data={"csrf_token": _token(client), "username": "admin"})
    assert answer.headers["Retry-After"] == "900"


def test_parallel_guesses_are_counted_together(app: Flask, sign_in: Callable[..., int]) -> None:
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(sign_in(app.test_client(), "wrong")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 8 and results.count(401) <= 3


def test_success_forgets_the_failures(
    empty: SessionFactory, client: FlaskClient, sign_in: Callable[..., int]
) -> None:
    assert sign_in(client, "wrong") == 401
    assert sign_in(client) == 303
    with empty() as session:
        assert session.query(LoginAttempt).count() == 0


def test_a_new_password_ends_the_session(admin: FlaskClient, empty: SessionFactory) -> None:
    assert admin.get("/admin").status_code == 200
    with transaction(empty) as session:
        migrate.ensure_admin(session, "admin", "a new password 0123456789")
    assert admin.get("/admin").status_code == 302


def test_a_session_of_yesterday_is_over(
    admin: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tg2em_frontend.auth.SESSION_SECONDS", -1)
    assert admin.get("/admin").status_code == 302


def test_signing_out(admin: FlaskClient) -> None:
    assert admin.post("/dm/logout").status_code == 303
    assert admin.get("/admin").status_code == 302


@pytest.mark.parametrize(
    "path",
    ["/dm", "/admin/articles/1", "/admin/articles/1/delete", "/admin/settings", "/admin/channels",
     "/admin/telegram", "/admin/services/scraper/stop"],
)  # fmt: skip
def test_a_forged_request_is_refused(admin: FlaskClient, path: str) -> None:
    del admin.environ_base["HTTP_X_CSRF_TOKEN"]
    answer = admin.post(path, data={"csrf_token": "made up"})
    assert answer.status_code == 400 and "expired" in answer.text


def test_a_proxy_is_believed_only_when_configured(
    config: FrontendConfig, empty: SessionFactory
) -> None:
    import dataclasses

    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    for hops, secure in ((0, False), (1, True)):
        app = create_app(dataclasses.replace(config, trusted_proxies=hops))
        answer = app.test_client().get("/dm", headers=headers)
        assert ("Secure" in answer.headers["Set-Cookie"]) is secure
        assert "Strict-Transport-Security" not in answer.headers


def _token(client: FlaskClient) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/dm").text)
    assert found is not None
    return found[1]
