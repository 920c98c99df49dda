"""The chat, its API and the administration, on both databases."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chatbot import chat, knowledge, work
from chatbot.app import create_app
from chatbot.config import Config, WebConfig
from chatbot.db import Database
from flask import Flask
from flask.testing import FlaskClient

Visitor = Callable[..., FlaskClient]
Enter = Callable[..., int]

REFUND = ("How do refunds work?", "Refunds take five working days.\nWrite to us with the order.")
退款 = ("如何申请退款？", "请在订单页面点击“申请退款”，款项五个工作日内原路退回。")


def write(database: Database, *articles: tuple[str, str]) -> list[int]:
    with database.transaction() as connection:
        return [knowledge.add(connection, title, body, "a") for title, body in articles]


def ask(client: FlaskClient, text: str) -> Any:
    answer = client.post("/api/conversation/messages", json={"text": text})
    assert answer.status_code == 200, answer.text
    return answer.json


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("refund?", REFUND[0]),
        ("What about REFUNDS please", REFUND[0]),
        ("怎么退款", 退款[0]),
        ("我想申请退款", 退款[0]),
        ("原路退回要几天", 退款[0]),
        ("ｒｅｆｕｎｄ", REFUND[0]),
        ("where is my parcel", None),
        ("快递到哪里了", None),
        ("退", 退款[0]),
        ("\"' OR 1=1 -- & | ! :*", None),
        ("the of a", None),
    ],
)
def test_articles_are_found_in_both_languages(
    database: Database, question: str, title: str | None
) -> None:
    write(database, REFUND, 退款, ("Opening hours", "We are open from nine to five."))
    assert next((a.title for a in knowledge.find(database, question)), None) == title


def test_signs_that_stand_apart_are_no_word(database: Database) -> None:
    write(database, ("退出以后款式不见", "请重新登录。"))
    assert knowledge.find(database, "退款") == []


def test_a_conversation(talk: FlaskClient, visitor: Visitor, database: Database) -> None:
    (number,) = write(database, REFUND)
    found = ask(talk, "How do refunds work")
    assert found["answer"]["body"] == REFUND[1]
    assert found["answer"]["sources"] == [{"id": number, "title": REFUND[0]}]
    everything = talk.get("/api/conversation/messages").json
    assert everything is not None and everything["state"] == "bot"
    assert [m["author"] for m in everything["messages"]] == ["visitor", "bot"]
    later = talk.get(f"/api/conversation/messages?after={found['question']}").json
    assert later is not None and [m["author"] for m in later["messages"]] == ["bot"]
    stranger = visitor()
    assert stranger.get("/api/conversation/messages").status_code == 401
    stranger.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {'x' * 43}"
    assert stranger.get("/api/conversation/messages").status_code == 404
    held = talk.environ_base["HTTP_AUTHORIZATION"].partition(" ")[2]
    assert not database.row("SELECT 1 AS n FROM conversations WHERE token_hash = %s", [held])


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"{}", "application/json"), (b'{"text": "x"', "application/json"),
     (b'{"text": 1}', "application/json"), (b'{"text": "\\u0000 "}', "application/json"),
     (b"text=x", "application/x-www-form-urlencoded"), (b"[]", "application/json")],
)  # fmt: skip
def test_what_is_no_question(talk: FlaskClient, body: bytes, kind: str) -> None:
    answer = talk.post("/api/conversation/messages", data=body, content_type=kind)
    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"


def test_numbers_that_are_none(talk: FlaskClient, admin: FlaskClient) -> None:
    for bad in ("x", "-1", "²", "9" * 30):
        assert talk.get(f"/api/conversation/messages?after={bad}").status_code == 400
        assert admin.get(f"/admin/articles?after={bad}").status_code == 400
    assert admin.get(f"/admin/articles/{2**70}").status_code == 404
    assert admin.get(f"/admin/conversations/{2**70}").status_code == 404


def events(text: str) -> list[tuple[str, Any]]:
    found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", text)
    return [(name, json.loads(data)) for name, data in found]


def test_an_answer_comes_in_pieces(talk: FlaskClient, database: Database) -> None:
    write(database, 退款)
    answer = talk.post(
        "/api/conversation/messages",
        json={"text": "怎么退款"},
        headers={"Accept": "text/event-stream"},
    )
    assert answer.mimetype == "text/event-stream" and answer.headers["X-Accel-Buffering"] == "no"
    found = events(answer.text)
    names = [name for name, _ in found]
    assert names[0] == "begin" and names[-2:] == ["message", "end"] and names.count("piece") > 1
    assert "".join(data for name, data in found if name == "piece") == 退款[1]
    assert found[-2][1]["body"] == 退款[1]


def test_a_reader_who_takes_too_long_is_let_go() -> None:
    answer = {"question": 1, "state": "bot", "answer": {"body": "x" * 500}}
    with_time = [name for name, _ in events("".join(chat._events(answer, 60)))]
    without = [name for name, _ in events("".join(chat._events(answer, -1)))]
    assert with_time[-1] == "end" and without == ["begin"]


def test_questions_without_an_answer(
    talk: FlaskClient, admin: FlaskClient, database: Database
) -> None:
    for _ in range(2):
        assert "no answer" in ask(talk, "Where is my <b>parcel</b>?")["answer"]["body"]
    page = admin.get("/admin/").text
    assert "Where is my &lt;b&gt;parcel&lt;/b&gt;?</td><td>2</td>" in page
    assert "<b>parcel" not in page
    (first, _) = database.rows("SELECT message_id AS id FROM unanswered")
    assert admin.post(f"/admin/unanswered/{first['id']}/resolve").status_code == 303
    assert "parcel" not in admin.get("/admin/").text
    assert admin.post(f"/admin/unanswered/{first['id']}/resolve").status_code == 404


def test_a_person_takes_over(talk: FlaskClient, admin: FlaskClient, database: Database) -> None:
    write(database, REFUND)
    assert talk.post("/api/conversation/person").status_code == 204
    assert ask(talk, "refund") == {"question": 1, "state": "waiting"}
    number = database.value("SELECT id FROM conversations")
    assert f"/admin/conversations/{number}" in admin.get("/admin/").text
    where = f"/admin/conversations/{number}"
    assert "refund" in admin.get(where).text
    assert admin.post(f"{where}/messages", data={"body": "Hello, Ann here"}).status_code == 303
    assert admin.post(f"{where}/messages", data={"body": " "}).status_code == 422
    seen = talk.get("/api/conversation/messages?after=1").json
    assert seen is not None and seen["state"] == "person"
    assert [(m["author"], m["body"]) for m in seen["messages"]] == [("person", "Hello, Ann here")]
    assert ask(talk, "Thanks")["state"] == "person"
    assert admin.post(f"{where}/bot").status_code == 303
    assert ask(talk, "refund")["answer"]["body"] == REFUND[1]
    talk.post("/api/conversation/person")
    assert talk.delete("/api/conversation/person").status_code == 204
    assert ask(talk, "refund")["state"] == "bot"


def test_versions(admin: FlaskClient, database: Database) -> None:
    form = {"title": "Shipping", "body": "Two days."}
    where = admin.post("/admin/articles", data=form).location
    assert admin.post(where, data={**form, "body": "Three days.", "base": "1"}).status_code == 303
    assert knowledge.find(database, "shipping")[0].body == "Three days."
    # Who has not seen the second version does not undo it.
    assert admin.post(where, data={**form, "body": "Four.", "base": "1"}).status_code == 409
    assert admin.post(f"{where}/revert/1").status_code == 303
    assert knowledge.find(database, "shipping")[0].body == "Two days."
    number = int(where.rpartition("/")[2])
    assert [row["body"] for row in knowledge.versions(database, number)] == [
        "Two days.", "Three days.", "Two days.",
    ]  # fmt: skip
    assert admin.post(f"{where}/shown", data={"shown": "0"}).status_code == 303
    assert knowledge.find(database, "shipping") == []
    assert admin.post(f"{where}/revert/2").status_code == 303
    assert knowledge.find(database, "shipping") == [], "withdrawn it stays"
    admin.post(f"{where}/shown", data={"shown": "1"})
    assert knowledge.find(database, "three")[0].title == "Shipping"
    for path in ("/revert/99", "9/revert/1", "9/shown"):
        assert admin.post(f"{where}{path}").status_code == 404
    assert admin.post("/admin/articles", data={"title": "x", "body": ""}).status_code == 422


def test_erased_is_erased(talk: FlaskClient, visitor: Visitor, database: Database) -> None:
    ask(talk, "a secret question")
    other = visitor("192.0.2.2")
    held = other.post("/api/conversations").json
    assert held is not None
    assert talk.delete("/api/conversation").status_code == 204
    for table in ("messages", "unanswered"):
        assert database.value(f"SELECT count(*) FROM {table}") == 0
    assert database.value("SELECT count(*) FROM conversations") == 1
    assert talk.get("/api/conversation").status_code == 404
    refused = talk.post("/api/conversation/messages", json={"text": "x"})
    assert refused.status_code == 404


def test_a_conversation_can_be_kept(
    talk: FlaskClient, admin: FlaskClient, database: Database
) -> None:
    ask(talk, "退款")
    kept = talk.get("/api/conversation")
    assert "attachment" in kept.headers["Content-Disposition"]
    assert kept.json is not None and kept.json["messages"][0]["body"] == "退款"
    assert "token" not in kept.text
    lines = admin.get("/admin/conversations.jsonl").text.splitlines()
    assert [json.loads(line)["messages"][0]["body"] for line in lines] == ["退款"]
    number = json.loads(lines[0])["id"]
    assert admin.get(f"/admin/conversations.jsonl?after={number}").text == ""


def test_an_export_says_where_to_go_on(
    environment: dict[str, str], config: Config, database: Database, enter: Enter
) -> None:
    web = WebConfig.from_environment({**environment, "STREAM_SECONDS": "0"})
    app = create_app(config, web)
    client = app.test_client()
    client.environ_base["HTTP_ACCEPT"] = "text/html"
    for _ in range(3):
        client.post("/api/conversations")
    assert enter(client) == 303
    first, more = client.get("/admin/conversations.jsonl").text.splitlines()
    assert json.loads(more) == {"next": json.loads(first)["id"]}
    app.extensions["chatbot"].database.close()


def test_conversations_are_kept_for_their_time(
    talk: FlaskClient, database: Database, config: Config
) -> None:
    ask(talk, "old")
    database.run("UPDATE conversations SET last_at = last_at - %s", [89 * 86400])
    for days, left in ((0, 1), (2, 0)):
        database.run("UPDATE conversations SET last_at = last_at - %s", [days * 86400])
        with database.transaction() as connection:
            work.retention(connection, config, {})
        assert database.value("SELECT count(*) FROM conversations") == left
    assert database.value("SELECT count(*) FROM messages") == 0


def test_limits(visitor: Visitor, talk: FlaskClient, database: Database) -> None:
    answers = [
        talk.post("/api/conversation/messages", json={"text": "x"}).status_code for _ in range(21)
    ]
    assert answers == [200] * 20 + [429]
    started = [visitor("2001:db8::1").post("/api/conversations").status_code for _ in range(20)]
    # Another address of the same network.
    refused = visitor("2001:db8::2").post("/api/conversations")
    assert set(started) == {201} and refused.status_code == 429
    assert refused.headers["Retry-After"] == "3600"
    assert visitor("198.51.100.1").post("/api/conversations").status_code == 201
    assert not [r for r in database.rows("SELECT bucket FROM limits") if "192" in r["bucket"][:3]]


def test_signing_in(visitor: Visitor, enter: Enter, admin: FlaskClient, app: Flask) -> None:
    assert visitor().get("/admin/").location == "/login?next=/admin/"
    stranger = visitor("203.0.113.1")
    assert [enter(stranger, "admin", "guess") for _ in range(4)] == [401, 401, 401, 429]
    # Guesses of strangers keep nobody out, not even from the same address.
    known = admin.environ_base | {"REMOTE_ADDR": "203.0.113.1"}
    admin.environ_base = known
    admin.post("/logout")
    del admin.environ_base["HTTP_X_CSRF_TOKEN"]
    assert enter(admin) == 303
    cookie = admin.get_cookie("chatbot")
    assert cookie is not None and cookie.http_only
    admin.post("/logout")
    copied = visitor()
    copied.set_cookie("chatbot", cookie.value)
    assert copied.get("/admin/").status_code == 303


def test_forms_want_their_token(admin: FlaskClient, visitor: Visitor) -> None:
    assert visitor().post("/login", data={"username": "admin"}).status_code == 400
    del admin.environ_base["HTTP_X_CSRF_TOKEN"]
    for path in ("/admin/articles", "/admin/import", "/admin/jobs/x/retry", "/logout"):
        assert admin.post(path, data={"title": "x", "body": "x"}).status_code == 400, path


def test_two_languages_and_headers(visitor: Visitor) -> None:
    page = visitor(language="zh-CN,zh;q=0.9").get("/")
    assert "与人工客服对话" in page.text and 'lang="zh-CN"' in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy and "unsafe" not in policy
    assert "no-store" in page.headers["Cache-Control"]
    assert visitor().get("/language/en?next=//evil.example.com").location == "/"
    script = re.search(r"/static/chat\.js\?v=[0-9a-f]{12}", page.text)
    assert script is not None
    assert "immutable" in visitor().get(script[0]).headers["Cache-Control"]


def test_health_and_figures(talk: FlaskClient, app: Flask) -> None:
    assert talk.get("/health").json == {"status": "ok", "version": "", "database": "ok"}
    assert talk.get("/health/live").status_code == 200
    text = talk.get("/metrics").text
    assert 'chatbot_conversations{state="bot"} 1.0' in text and "chatbot_jobs" in text
    assert "chatbot_http_requests_total" in text


def test_without_a_database_it_was_never_alive(environment: dict[str, str], tmp_path: Path) -> None:
    away = {**environment, "DATABASE_PORT": "1", "DATA_DIR": str(tmp_path / "nowhere")}
    app = create_app(Config.from_environment(away), WebConfig.from_environment(away))
    client = app.test_client()
    # Each waits five seconds for PostgreSQL: that is when a visitor is told.
    assert client.get("/health/live").status_code == 503
    assert client.post("/api/conversations").status_code == 503
    app.extensions["chatbot"].seen = True
    assert client.get("/health/live").status_code == 200
    app.extensions["chatbot"].database.close()
