"""The pages, on a real PostgreSQL and Redis."""

import io
import json
import re
import struct
import zlib
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from PIL import Image
from taifish import board, pictures
from taifish.app import create_app
from taifish.config import CACHE, SESSIONS, Config, WebConfig
from taifish.db import Database
from taifish.limits import Limits
from taifish.names import account_name
from taifish_rig import Servers

Visitor = Callable[..., FlaskClient]
Enter = Callable[..., int]


def picture(kind: str = "PNG", size: tuple[int, int] = (640, 480)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "teal").save(out, kind)
    return out.getvalue()


def send(client: FlaskClient, content: bytes = b"", name: str = "cat.png", **form: str) -> int:
    data: dict[str, object] = {"title": "Hello", "body": "World", **form}
    if content:
        data["picture"] = (io.BytesIO(content), name)
    return client.post("/b/lobby/posts", data=data).status_code


def test_signing_up_in_and_out(visitor: Visitor, enter: Enter) -> None:
    alice = visitor()
    assert enter(alice, "/signup", "Alice") == 303
    assert "Alice" in alice.get("/").text
    assert alice.post("/logout").status_code == 303
    assert "Alice" not in alice.get("/").text
    del alice.environ_base["HTTP_X_CSRF_TOKEN"]
    assert enter(alice, "/login", "alice", "wrong password") == 401
    assert enter(alice, "/login", "ＡＬＩＣＥ") == 303


def test_one_account_a_name_whatever_its_spelling(visitor: Visitor, enter: Enter) -> None:
    assert enter(visitor(), "/signup", "Straße") == 303
    for other in ("STRASSE", "strasse", "ｓｔｒａｓｓｅ"):
        assert enter(visitor(), "/signup", other) == 422
    assert enter(visitor(), "/signup", "摸鱼") == 303
    assert [account_name(n) for n in ("", "a b", "a\u200bb", "a\u202eb", "x" * 33, "<b>")] == [
        ""
    ] * 6
    assert account_name(account_name("ͅΑ") or "a") == (account_name("ͅΑ") or "a")


def test_a_session_ends_everywhere(
    visitor: Visitor, enter: Enter, member: FlaskClient, servers: Servers
) -> None:
    cookie = member.get_cookie("taifish")
    other = visitor()
    assert enter(other, "/login", "alice") == 303
    assert (
        cookie is not None
        and servers.redis(SESSIONS).ttl(next(servers.redis(SESSIONS).scan_iter("sessions:*"))) == -1
    ), "a full cache would sign people out"
    member.post("/logout")
    assert other.get("/account").status_code == 303
    copied = visitor()
    copied.set_cookie("taifish", cookie.value)
    assert copied.get("/account").status_code == 303


def test_another_password_ends_sessions_elsewhere(
    visitor: Visitor, enter: Enter, member: FlaskClient
) -> None:
    other = visitor()
    assert enter(other, "/login", "alice") == 303
    form = {"password": "correct horse battery", "new_password": "another horse"}
    assert member.post("/account/password", data=form | {"password": "no"}).status_code == 401
    assert member.post("/account/password", data=form).status_code == 303
    assert "is changed" in member.get("/account").text
    assert other.get("/account").status_code == 303
    assert enter(visitor(), "/login", "alice", "another horse") == 303


def test_strangers_guesses_do_not_keep_the_owner_out(visitor: Visitor, enter: Enter) -> None:
    owner = visitor("192.0.2.1")
    assert enter(owner, "/signup", "Alice") == 303
    owner.post("/logout")
    stranger = visitor("198.51.100.7")
    answers = [enter(stranger, "/login", "alice", "guess") for _ in range(5)]
    assert answers == [401, 401, 401, 429, 429]
    # The same address, as behind a company's proxy: its device is known.
    owner.environ_base["REMOTE_ADDR"] = "198.51.100.7"
    del owner.environ_base["HTTP_X_CSRF_TOKEN"]
    assert enter(owner, "/login", "alice") == 303
    assert enter(visitor("203.0.113.5"), "/login", "alice") == 303


def test_limits_end_by_themselves(visitor: Visitor, enter: Enter, servers: Servers) -> None:
    enter(visitor(), "/login", "nobody", "guess")
    keys = list(servers.redis(SESSIONS).scan_iter("limit:*"))
    assert len(keys) == 2
    assert all(0 < servers.redis(SESSIONS).ttl(key) <= 900 for key in keys)


def test_a_counter_that_ends_while_a_try_is_taken_back_stays_away(
    migrated: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(migrated)
    look = limits._redis.get

    def last(key: str) -> str:
        found: str = look(key)
        limits._redis.delete(key)
        return found

    limits.count("ending", 60)
    monkeypatch.setattr(limits._redis, "get", last)
    limits.take_back("ending")
    # 0 of its own time, or none at all: -1 is a counter that never ends.
    assert limits._redis.ttl("limit:ending") != -1
    limits.forget("ending")
    limits.take_back("ending")
    assert not limits._redis.exists("limit:ending")


def test_a_page_before_any_number_is_a_page(visitor: Visitor) -> None:
    for before in ("-1", "0", "9" * 30, f"-{'9' * 30}", "x"):
        assert visitor().get(f"/b/lobby?before={before}").status_code == 200, before


def test_signing_up_has_a_limit(visitor: Visitor, enter: Enter) -> None:
    answers = [enter(visitor(), "/signup", f"user{n}") for n in range(8)]
    assert answers == [303] * 6 + [429] * 2
    assert enter(visitor("192.0.2.77"), "/signup", "somebody") == 303


@pytest.mark.parametrize(
    "form",
    [
        {"username": "a b"},
        {"password": "short"},
        {"email": "no\r\nBcc: x@example.com"},
        {"email": "x"},
    ],
)
def test_what_cannot_be_an_account(visitor: Visitor, enter: Enter, form: dict[str, str]) -> None:
    given = {"name": "bob", "password": "long enough"} | {
        k.replace("username", "name"): v for k, v in form.items()
    }
    assert enter(visitor(), "/signup", **given) == 422


def test_forms_want_their_token(visitor: Visitor, member: FlaskClient) -> None:
    assert visitor().post("/login", data={"username": "alice"}).status_code == 400
    del member.environ_base["HTTP_X_CSRF_TOKEN"]
    assert send(member) == 400
    assert member.post("/logout").status_code == 400


def test_posting_and_commenting(visitor: Visitor, member: FlaskClient, database: Database) -> None:
    assert send(visitor()) == 400
    assert send(member, title="<script>alert(1)</script>", body="one\r\ntwo\0") == 303
    assert send(member, title=" ", body="x") == 422
    number = database.value("SELECT id FROM posts")
    page = visitor().get(f"/p/{number}").text
    assert "&lt;script&gt;alert(1)" in page and "<script>" not in page
    assert database.value("SELECT body FROM posts") == "one\ntwo"
    assert member.post(f"/p/{number}/comments", data={"body": "Nice"}).status_code == 303
    assert "Nice" in visitor().get(f"/p/{number}").text
    assert "1 comment" in visitor().get("/b/lobby").text
    assert database.row("SELECT key, kind, state FROM jobs") == {
        "key": f"notification:{database.value('SELECT id FROM comments')}",
        "kind": "notification",
        "state": "queued",
    }
    for path in ("/b/nowhere", "/p/999999", f"/p/{2**70}", "/exports/x"):
        assert member.get(path).status_code == 404


def test_a_visitor_is_asked_to_sign_in(visitor: Visitor) -> None:
    answer = visitor().get("/account")
    assert answer.status_code == 303 and answer.location == "/login?next=/account"
    assert visitor().get("/admin").status_code == 303
    program = visitor()
    program.environ_base["HTTP_ACCEPT"] = "application/json"
    assert program.get("/account").status_code == 401


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_pictures_are_written_anew(
    member: FlaskClient, database: Database, config: Config, kind: str
) -> None:
    hidden = b"<script>alert(1)</script>"
    assert send(member, picture(kind) + hidden, "../../evil.php") == 303
    name = database.value("SELECT picture FROM posts")
    assert re.fullmatch(r"[0-9a-f]{32}\.(png|jpg|webp|gif)", name)
    assert hidden not in (config.data / "uploads" / name).read_bytes()
    answer = member.get(f"/uploads/{name}")
    assert answer.status_code == 200
    assert answer.content_type == pictures.TYPES[name.partition(".")[2]]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert "immutable" in answer.headers["Cache-Control"]


def bomb() -> bytes:
    """A PNG of a few hundred bytes whose header promises 30,000 × 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "content",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<?php system($_GET['c']); ?>",
        b"GIF89a" + b"\0" * 40,
        b"%PDF-1.7\n",
        b"\x89PNG\r\n\x1a\n" + b"x" * 100,
        picture("BMP", (8, 8)),
        picture("JPEG")[:2000],
        bomb(),
        b"x" * (pictures.MAX_BYTES + 1),
    ],
    ids=["svg", "php", "gif", "pdf", "png", "bmp", "cut off", "bomb", "large"],
)
def test_what_is_no_picture_is_refused(
    member: FlaskClient, database: Database, config: Config, content: bytes
) -> None:
    assert send(member, content) == 422
    assert database.value("SELECT count(*) FROM posts") == 0
    assert list((config.data / "uploads").iterdir()) == []


def test_a_picture_tells_nothing_of_where_it_was_taken(member: FlaskClient, config: Config) -> None:
    exif = Image.Exif()
    exif[0x010E] = "at home"
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "JPEG", exif=exif)
    assert b"at home" in out.getvalue()
    assert send(member, out.getvalue()) == 303
    (file,) = (config.data / "uploads").iterdir()
    assert b"at home" not in file.read_bytes()


@pytest.mark.parametrize(
    "name", ["../app.py", "..%2f..%2fsecrets", "x" * 32 + ".png", "0" * 32 + ".html", "a.png"]
)
def test_no_other_file_is_served(visitor: Visitor, name: str) -> None:
    assert visitor().get(f"/uploads/{name}").status_code == 404
    assert visitor().get(f"/thumbs/{name}").status_code == 404


def test_a_request_that_is_too_large(member: FlaskClient) -> None:
    assert send(member, b"x" * (pictures.MAX_BYTES + 600_000)) == 413


def test_an_export_is_for_who_asked(
    visitor: Visitor, enter: Enter, member: FlaskClient, admin: FlaskClient
) -> None:
    where = member.post("/b/lobby/exports").location
    assert "being written" in member.get(where).text
    json_ = {"Accept": "application/json"}
    assert member.get(where, headers=json_).json == {
        "id": where.rpartition("/")[2],
        "state": "queued",
        "rows": None,
        "download": None,
    }
    assert member.get(f"{where}/download").status_code == 404
    bob = visitor()
    assert enter(bob, "/signup", "Bob") == 303
    assert bob.get(where).status_code == 404
    assert admin.get(where).status_code == 200


def test_posts_as_json(visitor: Visitor, member: FlaskClient) -> None:
    for number in range(3):
        send(member, title=f"Post {number}")
    found = visitor().get("/api/posts?limit=2").json
    assert found is not None
    assert [p["title"] for p in found["posts"]] == ["Post 2", "Post 1"]
    assert found["posts"][0]["author"] == "Alice" and found["posts"][0]["board"] == "lobby"
    for bad in ("0", "101", "-1", "x", "²"):
        answer = visitor().get(f"/api/posts?limit={bad}")
        assert answer.status_code == 400 and answer.content_type == "application/problem+json"


def test_pages_further_back(visitor: Visitor, member: FlaskClient) -> None:
    for number in range(board._PAGE + 3):
        send(member, title=f"Post {number}")
    first = visitor().get("/b/lobby").text
    assert first.count("<article") == board._PAGE
    older = re.search(r"/b/lobby\?before=\d+", first)
    assert older is not None
    assert visitor().get(older[0]).text.count("<article") == 3


def test_every_key_of_the_cache_has_a_time_to_live(
    visitor: Visitor, member: FlaskClient, servers: Servers
) -> None:
    send(member)
    for path in ("/", "/b/lobby", "/api/posts"):
        assert visitor().get(path).status_code == 200
    cache = servers.redis(CACHE)
    keys = cache.keys("*")
    assert len(keys) == 4
    assert all(0 < cache.ttl(key) <= 10 for key in keys)
    assert json.loads(cache.get("front"))[0]["title"] == "Hello"
    send(member, title="Newer")
    assert "Newer" in visitor().get("/").text and "Newer" in visitor().get("/b/lobby").text


def test_two_languages(visitor: Visitor) -> None:
    assert "大厅" in visitor(language="zh-CN,zh;q=0.9").get("/").text
    reader = visitor(language="zh")
    assert reader.get("/language/en?next=//evil.example.com").location == "/"
    assert "Lobby" in reader.get("/").text
    assert reader.get("/language/xx").status_code == 404


def test_health_and_figures(visitor: Visitor, member: FlaskClient) -> None:
    found = visitor().get("/health")
    assert found.status_code == 200
    assert found.json == {"status": "ok", "version": "", "database": "ok", "redis": "ok"}
    assert visitor().get("/health/live").status_code == 200
    send(member, picture())
    text = visitor().get("/metrics").text
    assert 'taifish_jobs{state="queued"} 1.0' in text
    assert "taifish_queue_length 1.0" in text
    assert "taifish_http_requests_total" in text


def test_static_files_are_kept_for_a_year(visitor: Visitor) -> None:
    found = re.search(r"/static/site\.css\?v=[0-9a-f]{12}", visitor().get("/").text)
    assert found is not None
    kept = visitor().get(found[0]).headers["Cache-Control"]
    assert "max-age=31536000" in kept and "immutable" in kept and "public" in kept
    assert "no-store" in visitor().get("/").headers["Cache-Control"]


def test_the_administration_is_the_administrators(admin: FlaskClient, member: FlaskClient) -> None:
    assert admin.get("/admin").status_code == 200
    assert member.get("/admin").status_code == 403
    assert member.post("/admin/jobs/x/retry").status_code == 403
    assert member.post("/admin/mail-test", data={"to": "a@example.com"}).status_code == 403
    assert admin.post("/admin/jobs/x/retry").status_code == 404


def test_who_signed_in_is_noted(
    visitor: Visitor, enter: Enter, member: FlaskClient, config: Config
) -> None:
    enter(visitor("203.0.113.9"), "/login", "alice", "guess\n")
    lines = (config.data / "logs" / "audit.log").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert [(e["event"], e["user"]) for e in found] == [
        ("sign-up", "alice"),
        ("sign-in refused", "alice"),
    ]
    assert found[1]["address"] == "203.0.113.9"


def test_a_visitors_address_is_that_of_a_named_proxy_alone(
    environment: dict[str, str], config: Config, enter: Enter
) -> None:
    given = {"TRUSTED_PROXIES": "1", "TRUSTED_PROXY_NETWORKS": "192.0.2.0/28, 2001:db8::1"}
    site = create_app(config, WebConfig.from_environment(environment | given))
    for peer in ("192.0.2.3", "::ffff:192.0.2.3", "192.0.2.77"):
        client = site.test_client()
        client.environ_base |= {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": "203.0.113.1"}
        assert enter(client, "/login", "admin", "guess") == 401
    lines = (config.data / "logs" / "audit.log").read_text().splitlines()
    assert [json.loads(line)["address"] for line in lines] == [
        "203.0.113.1",
        "203.0.113.1",
        "192.0.2.77",
    ]
    site.extensions["taifish"].database.close()
