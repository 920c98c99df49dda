"""What must not be possible."""

import dataclasses
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import tg2em_frontend
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from tg2em_core import migrate
from tg2em_core.db import SessionFactory, transaction
from tg2em_core.models import LoginAttempt
from tg2em_frontend.app import create_app
from tg2em_frontend.config import FrontendConfig

from moorage.panel.devices import Brake

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


def test_signing_out_ends_the_session_everywhere(
    app: Flask, config: FrontendConfig, admin: FlaskClient
) -> None:
    cookie = admin.get_cookie("tg2em")
    assert cookie is not None
    # Another worker is another application on the same database.
    copies = [app.test_client(), create_app(config).test_client()]
    for copy in copies:
        copy.set_cookie("tg2em", cookie.value)
        assert copy.get("/admin").status_code == 200
    assert admin.post("/dm/logout").status_code == 303
    for client in (admin, *copies):
        assert client.get("/admin").status_code in (302, 401)
    # The token of the session goes with it.
    headers = {"X-CSRF-Token": admin.environ_base["HTTP_X_CSRF_TOKEN"]}
    answer = copies[0].post("/admin/services/scraper/restart", headers=headers)
    assert answer.status_code in (302, 400, 401)


@pytest.mark.parametrize(
    "name", ["ádmin", "ADMİN", "admin\u00ad", "adm\u0131n", "admin\u200b", "\x01admin", "ﷺ" * 64]
)
def test_a_spelling_that_a_database_takes_for_the_name_is_nobody(
    client: FlaskClient, sign_in: Callable[..., int], name: str
) -> None:
    assert sign_in(client, name=name) == 401
    assert client.get("/admin").status_code == 302


def test_all_spellings_of_a_name_have_one_limit(
    app: Flask, empty: SessionFactory, sign_in: Callable[..., int]
) -> None:
    for name in ("admin", "ADMIN", "ＡＤＭＩＮ"):
        assert sign_in(app.test_client(), "wrong", name=name) == 401
    with empty() as session:
        accounts = set(session.scalars(select(LoginAttempt.bucket)))
    assert accounts == {"address:127.0.0.1", "account:admin"}


def from_address(app: Flask, number: int) -> FlaskClient:
    client = app.test_client()
    client.environ_base["REMOTE_ADDR"] = f"192.0.2.{number}"
    return client


def test_others_guesses_keep_no_owner_out(
    app: Flask, sign_in: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("moorage.panel.devices.time.sleep", waits.append)
    owner = from_address(app, 1)
    assert sign_in(owner) == 303
    owner.post("/dm/logout", headers={"X-CSRF-Token": _token(owner, "/admin")})
    # From the owner's address too, as behind one gateway.
    for number in range(1, 15):
        guesser = from_address(app, number)
        assert [sign_in(guesser, "wrong") for _ in range(4)] == [401, 401, 401, 429]
    slowed = len(waits)
    assert slowed, "guesses of many addresses are answered slowly"
    # Known by its cookie: at once.
    assert sign_in(owner) == 303
    assert len(waits) == slowed
    # From a new place: slowly, and in.
    assert sign_in(from_address(app, 99)) == 303


def test_a_known_browser_has_a_limit_of_its_own(app: Flask, sign_in: Callable[..., int]) -> None:
    owner = app.test_client()
    assert sign_in(owner) == 303
    device = owner.get_cookie("tg2em_device")
    assert device is not None and device.http_only and device.same_site == "Strict"
    thief = from_address(app, 7)
    thief.set_cookie("tg2em_device", device.value)
    assert [sign_in(thief, "wrong") for _ in range(4)] == [401, 401, 401, 429]
    forged = from_address(app, 8)
    forged.set_cookie("tg2em_device", "x" + device.value)
    assert [sign_in(forged, "wrong") for _ in range(4)] == [401, 401, 401, 429]


def test_few_wait_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    brake = Brake(places=1)
    meanwhile: list[bool] = []
    # Whoever comes while somebody waits.
    monkeypatch.setattr(
        "moorage.panel.devices.time.sleep", lambda _: meanwhile.append(brake.wait())
    )
    assert brake.wait() and meanwhile == [False]
    assert brake.wait(), "the place is given back"


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
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    for hops, named, secure in ((0, "", False), (1, "", True), (1, "192.0.2.1", False)):
        found = dataclasses.replace(config, trusted_proxies=hops, proxy_networks=named)
        app = create_app(found)
        answer = app.test_client().get("/dm", headers=headers)
        assert ("Secure" in answer.headers["Set-Cookie"]) is secure
        assert "Strict-Transport-Security" not in answer.headers


def _token(client: FlaskClient, path: str = "/dm") -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(path).text)
    assert found is not None
    return found[1]
