"""Telegram Desktop exports, from folders written here."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from preview_server import png
from tg2em_scraper.export import pages
from tg2em_scraper.source import SourceError


def write(folder: Path, posts: list[Any], **more: Any) -> Path:
    data = {"name": "My channel", "type": "public_channel", "id": 1234, "messages": posts}
    (folder / "result.json").write_text(json.dumps(data | more), encoding="utf-8")
    return folder


def post(number: int, text: Any = "", **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "type": "message",
        "date": "2025-03-01T16:00:00",
        "date_unixtime": "1740816000",
        "text": text,
    } | more


def test_a_post_with_links_and_a_photo(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.jpg").write_bytes(png("x", 4, 4))
    entities = [
        {"type": "plain", "text": "名称：书 📁\n链接："},
        {"type": "text_link", "text": "here", "href": "https://pan.quark.cn/s/1"},
        {"type": "plain", "text": "\n"},
        {"type": "link", "text": "example.com/x"},
    ]
    write(tmp_path, [post(5, "", text_entities=entities, photo="photos/1.jpg", edited="2025")])
    (page,) = pages(tmp_path, "chan")
    (message,) = page.messages
    assert message.channel == "chan"
    assert message.posted_at == datetime(2025, 3, 1, 8, tzinfo=UTC)
    assert message.body.text == "名称：书 📁\n链接：here\nexample.com/x"
    assert [link.url for link in message.body.links] == [
        "https://pan.quark.cn/s/1",
        "https://example.com/x",
    ]
    assert message.pictures == (str(tmp_path / "photos/1.jpg"),)
    assert message.edited


def test_old_exports_have_a_list_as_text(tmp_path: Path) -> None:
    write(tmp_path, [post(1, ["名称：a ", {"type": "hashtag", "text": "#b"}])])
    (page,) = pages(tmp_path, "chan")
    assert page.messages[0].body.text == "名称：a #b"


def test_what_was_left_out_or_lies_outside_is_no_picture(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (folder / "note.txt").write_bytes(b"x")
    absent = "(File not included. Change data exporting settings to download.)"
    names = (absent, "../secret.jpg", str(tmp_path / "secret.jpg"), "photos/none.jpg", "note.txt")
    write(folder, [post(i, "x", photo=name) for i, name in enumerate(names, start=1)])
    found = [m for page in pages(folder, "chan") for m in page.messages]
    assert len(found) == len(names)
    assert [m.pictures for m in found] == [()] * len(names)


def test_an_album_is_one_post(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"{number}.jpg").write_bytes(b"x")
    write(
        tmp_path,
        [
            post(1, photo="1.jpg"),
            post(2, "caption", photo="2.jpg"),
            post(3, "its own", photo="3.jpg"),
            post(4, "text alone"),
        ],
    )
    (page,) = pages(tmp_path, "chan")
    assert [(m.message_id, m.body.text, len(m.pictures)) for m in page.messages] == [
        (1, "caption", 2),
        (3, "its own", 1),
        (4, "text alone", 0),
    ]
    assert page.messages[0].album_ids == (2,)


def test_service_and_broken_posts_do_not_stop_it(tmp_path: Path) -> None:
    broken = post(2, "x")
    del broken["date"], broken["date_unixtime"]
    unnumbered = post(2, "x", id="two")
    service = post(1, "a", type="service")
    write(tmp_path, [service, broken, "nonsense", unnumbered, post(3, "c")])
    (page,) = pages(tmp_path, "chan")
    assert [m.message_id for m in page.messages] == [3]
    assert len(page.problems) == 2


def test_a_whole_account_is_searched_for_the_channel(tmp_path: Path) -> None:
    chats = [
        {"name": "Other", "id": 1, "messages": [post(1, "other")]},
        {"name": "Chan", "id": 2, "messages": [post(1, "wanted")]},
    ]
    data = {"chats": {"list": chats}}
    (tmp_path / "result.json").write_text(json.dumps(data))
    for name in ("chan", "2"):
        (page,) = pages(tmp_path, name)
        assert page.messages[0].body.text == "wanted"
    with pytest.raises(SourceError, match="it holds: Chan, Other"):
        list(pages(tmp_path, "missing"))


@pytest.mark.parametrize("content", [None, "{", "[]", '{"messages": 3}', "\x00"])
def test_no_export(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    with pytest.raises(SourceError, match=r"result\.json"):
        list(pages(tmp_path, "chan"))


def test_long_histories_come_in_pages(tmp_path: Path) -> None:
    write(tmp_path, [post(number, "x") for number in range(1, 251)])
    found = list(pages(tmp_path, "chan"))
    assert [len(page.messages) for page in found] == [100, 100, 50]
