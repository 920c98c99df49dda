"""The pages: posts, tags, search, the feed, comments, import and export, and who may what."""

import io
import json
import re
import zipfile
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from fastblog import comments, markup
from fastblog.site import Site
from fastblog_rig import token
from flask import Flask
from flask.testing import FlaskClient

Write = Callable[..., int]
Visitor = Callable[..., FlaskClient]
ATOM = "{http://www.w3.org/2005/Atom}"
EVIL = (
    "<script>alert(1)</script> [a](javascript:alert(1)) ![x](data:text/html;base64,AA)"
    ' <img src=x onerror=alert(1)> [b](https://e.example "onmouseover=alert(1)")'
    '\n\n```x" onclick="alert(1)\n<b>\n```\n<https://a.example/?"><svg/onload=alert(1)>'
)


def test_a_post_is_previewed_kept_as_a_draft_and_published(
    admin: FlaskClient, write: Write, visitor: Visitor
) -> None:
    assert write("Hello", "It is **bold**.", action="preview") == 200
    assert "Hello" not in admin.get("/admin/").text
    assert write("Hello", "It is **bold**.", action="draft") == 303
    reader = visitor()
    assert reader.get("/posts/hello").status_code == 404
    assert "Hello" not in reader.get("/").text + reader.get("/feed.atom").text
    form = {"title": "Hello", "body": "It is **bold**.", "action": "publish", "tags": "News，测试"}
    assert admin.post("/admin/posts/1", data=form).status_code == 303
    page = reader.get("/posts/hello").text
    assert "<strong>bold</strong>" in page and "/tags/news" in page
    assert "Hello" in reader.get("/tags/测试").text and "Hello" not in reader.get("/tags/no").text
    assert write("hello") == 422, "the address is taken"
    assert write("  ") == 422
    assert admin.post("/admin/posts/1/delete").status_code == 303
    assert reader.get("/posts/hello").status_code == 404


@pytest.mark.parametrize("question", ["部署", "进程 监督", "SUPERVISORS", "重启"])
def test_words_are_found_chinese_ones_too(write: Write, visitor: Visitor, question: str) -> None:
    write("进程监督器", "supervisor 会自动重启进程，部署很简单。")
    write("Another one", "Nothing of that.")
    found = visitor().get("/search", query_string={"q": question}).text
    assert "进程监督器" in found and "Another one" not in found


def test_a_search_for_odd_things_finds_nothing(visitor: Visitor, write: Write) -> None:
    write("One")
    for question in ['"', "* OR 1", "NEAR(", "\0", "😀", "a" * 5000]:
        assert visitor().get("/search", query_string={"q": question}).status_code == 200


def test_what_an_author_and_a_commenter_write_does_no_harm() -> None:
    for html in (markup.post(EVIL), markup.comment(EVIL)):
        tags = re.findall(r"<[^>]*>", html)
        assert not [
            tag for tag in tags if re.search(r"script|javascript|onerror|onclick|svg|data:", tag)
        ]
    assert "<img" not in markup.comment("![x](https://a.example/x.png)")
    assert 'rel="nofollow ugc noopener"' in markup.comment("[a](https://a.example)")
    assert 'class="language-python"' in markup.post("```python\nx\n```")


def test_pages_let_nothing_else_in(visitor: Visitor, write: Write) -> None:
    write("<b>x</b>", EVIL)
    reader = visitor()
    answer = reader.get("/")
    assert (
        "<b>x</b>" not in answer.text
        and "script-src 'self'" in answer.headers["Content-Security-Policy"]
    )
    feed = reader.get("/feed.atom")
    entry = ElementTree.fromstring(feed.data).find(f"{ATOM}entry")
    assert entry is not None and entry.findtext(f"{ATOM}title") == "<b>x</b>"
    again = reader.get("/feed.atom", headers={"If-None-Match": feed.headers["ETag"]})
    assert again.status_code == 304


def _comment(client: FlaskClient, body: str, **fields: str) -> int:
    page = client.get("/posts/one").text
    found = dict(re.findall(r'name="(csrf_token|stamp)" value="([^"]+)"', page))
    form = {"name": "Ann", "body": body, "website": "", **found, **fields}
    return client.post("/posts/one/comments", data=form).status_code


def test_comments_of_robots_are_kept_from_readers(
    app: Flask, visitor: Visitor, write: Write, admin: FlaskClient
) -> None:
    write("One")
    admin.post(
        "/admin/settings",
        data={"title": "B", "theme": "slate", "blocked": "casino\n", "comments": "1"},
    )
    site: Site = app.extensions["fastblog"]
    reader = visitor()
    with site.database.transaction() as connection:

        def state(body: str, age: float | None = 60, **fields: str) -> str:
            given = comments.Comment(1, "Ann", body, **fields)
            return comments.add(connection, given, age, "casino")

        assert state("Too quick", 1) == comments.WAITING
        assert state("Well said") == comments.SHOWN
        assert state("Well said") == comments.SPAM, "twice the same"
        assert state("More at https://a.example") == comments.WAITING
        # A browser makes http://a.example of it.
        assert state("More at <http:a.example>") == comments.WAITING
        assert state("More from <ann@a.example>") == comments.WAITING
        assert state("Best CASINO") == comments.SPAM
        assert state("x", website="https://a.example") == comments.SPAM
        assert state("y", age=None) == comments.SPAM
        assert state("http://a http://b http://c www.d") == comments.SPAM
    assert _comment(reader, "By the form") == 303
    page = reader.get("/posts/one").text
    assert "Well said" in page and "Too quick" not in page and "CASINO" not in page
    assert "slate.css" in page
    assert admin.post("/admin/comments/1/shown").status_code == 303
    assert "Too quick" in reader.get("/posts/one").text
    assert _comment(reader, "  ") == 422
    assert [_comment(reader, f"no. {number}") for number in range(5)][-1] == 429
    other = visitor("192.0.2.7")
    given = token(other.get("/posts/one").text)
    admin.post("/admin/settings", data={"title": "B", "theme": "paper"})
    assert other.post("/posts/one/comments", data={"csrf_token": given}).status_code == 403


def test_a_stamp_is_good_for_its_own_post(app: Flask) -> None:
    stamps = app.extensions["fastblog"].stamps
    stamp = stamps.make(1)
    assert stamps.age(stamp, 1) is not None
    assert stamps.age(stamp, 2) is None and stamps.age(stamp + "x", 1) is None


def _take_in(admin: FlaskClient, name: str, content: bytes) -> str:
    data = {"file": (io.BytesIO(content), name)}
    return admin.post("/admin/import", data=data, follow_redirects=True).text


def test_what_is_exported_is_taken_in_again(
    app: Flask, admin: FlaskClient, write: Write, visitor: Visitor
) -> None:
    write("你好", "中文 **内容**", tags="a, b")
    write("A draft", "---\nodd: head\n---\nbody", action="draft")
    with app.extensions["fastblog"].database.transaction() as connection:
        comments.add(connection, comments.Comment(1, "Ann", "Well said"), 60, "")
    content = admin.get("/admin/export.zip").data
    before = visitor().get("/posts/你好").text
    for number in (1, 2):
        admin.post(f"/admin/posts/{number}/delete")
    assert "2 posts and 1 comments" in _take_in(admin, "x.zip", content)
    clean = re.compile(r'name="(csrf_token|stamp)" value="[^"]+"')
    assert clean.sub("", visitor().get("/posts/你好").text) == clean.sub("", before)
    assert visitor().get("/posts/a-draft").status_code == 404
    assert "2 posts and 0 comments" in _take_in(admin, "x.zip", content), "nothing twice"
    one = b"---\ntitle: From Jekyll\ntags: [x, y]\ndate: 2020-01-02\n---\nText."
    assert "1 posts" in _take_in(admin, "old.md", one)
    assert "2020" in visitor().get("/posts/old").text
    said = {"post": "old", "name": "Ann", "body": "Late", "state": "shown", "created_at": 1e18}
    _take_in(admin, "x.zip", _zip(("comments.json", json.dumps([said]).encode())))
    assert "Late" in visitor().get("/posts/old").text


def _zip(*entries: tuple[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return made.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 torn",
        _zip(("posts/a.md", b"ok"), ("posts/bomb.md", b"a" * 30_000_000)),
        _zip(*((f"posts/{n}.md", b"x") for n in range(5001))),
        _zip(("posts/a.md", b"ok"), ("posts/b.md", b"\xff\xfe")),
        _zip(("posts/a.md", b"---\ndate: tomorrow\n---\n")),
        _zip(("posts/a.md", b"ok"), ("comments.json", b"[" * 100_000)),
        _zip(("posts/a.md", b"ok"), ("comments.json", b"[1]")),
        _zip(("posts/a.md", b"ok"))[:-30],
        _zip(("posts/a.md", b"---\ndate: 9999-12-31T23:59:59-12:00\n---\n")),
        _zip(("posts/a.md", b"ok" * 99))[:40] + b"\xff" * 4 + _zip(("posts/a.md", b"ok" * 99))[44:],
    ],
    ids=[
        *("empty", "torn", "bomb", "many", "not-utf-8", "date", "deep", "shape", "cut"),
        *("year", "damaged"),
    ],
)
def test_a_bad_archive_leaves_nothing_behind(admin: FlaskClient, content: bytes) -> None:
    assert "Nothing was taken in" in _take_in(admin, "x.zip", content)
    assert "/admin/posts/1" not in admin.get("/admin/").text


def test_only_the_administrator_gets_at_the_administration(
    visitor: Visitor, admin: FlaskClient, write: Write
) -> None:
    write("One")
    stranger = visitor()
    for path in ("/admin/", "/admin/settings", "/admin/export.zip", "/admin/services/"):
        assert stranger.get(path).status_code == 302, path
    assert stranger.post("/admin/posts/1/delete").status_code == 400, "no token"
    del admin.environ_base["HTTP_X_CSRF_TOKEN"]
    assert admin.post("/admin/posts/1/delete").status_code == 400, "forged"
    assert stranger.get("/api/processes").status_code == 401
    assert '"status":"ok"' in stranger.get("/api/health").text
    assert admin.get("/admin/posts/99999999999999999999").status_code == 404


def test_huge_things_are_refused(admin: FlaskClient, visitor: Visitor) -> None:
    form = {"title": "x", "body": "x" * 200_000, "action": "publish"}
    assert admin.post("/admin/posts/new", data=form).status_code == 413
    assert admin.post("/admin/import", data=b"x" * 12_000_000).status_code == 413


def test_every_text_is_in_chinese(visitor: Visitor, admin: FlaskClient) -> None:
    assert "订阅" in visitor(language="zh").get("/").text
    page = admin.get("/language/zh?next=/admin/settings", follow_redirects=True).text
    assert "导入与导出" in page and 'lang="zh-CN"' in page
