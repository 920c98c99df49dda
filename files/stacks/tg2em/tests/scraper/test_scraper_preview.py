"""The preview page's structure, on pages that the preview server renders."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from preview_server import Channel, Post, render
from tg2em_scraper.preview import parse_page, parse_views
from tg2em_scraper.source import NoPreviewError, Page

BASE = "http://pages.example"


def read(*posts: Post, before: int | None = None, **channel: Any) -> Page:
    made = Channel(posts={post.id: post for post in posts}, **channel)
    return parse_page(render("chan", made, before, BASE), "chan", f"{BASE}/s/chan")


def test_a_plain_post() -> None:
    text = "名称：x & <y>\n链接：https://pan.quark.cn/s/1\n📁 大小：1GB\n#tag"
    (message,) = read(Post(7, text, views="1.2K")).messages
    assert message.message_id == 7
    assert message.body.text == text
    assert [link.url for link in message.body.links] == ["https://pan.quark.cn/s/1"]
    assert message.views == 1200
    assert message.posted_at == datetime(2025, 3, 1, 8, tzinfo=UTC)
    assert not message.edited


def test_the_channels_title() -> None:
    assert read(Post(1, "x"), title="A <b> channel").title == "A <b> channel"


def test_a_reply_is_not_the_text_and_its_picture_not_the_picture() -> None:
    (message,) = read(Post(2, "my own words", reply="theirs", photos=("own-8x8.png",))).messages
    assert message.body.text == "my own words"
    assert message.pictures == (f"{BASE}/pictures/own-8x8.png",)


def test_a_reply_without_words_of_its_own_has_no_text() -> None:
    (message,) = read(Post(2, reply="theirs")).messages
    assert message.body.text == ""
    assert message.pictures == ()


def test_an_album_is_one_post_with_all_its_pictures() -> None:
    (message,) = read(Post(10, "album", photos=("a-8x8.png", "b-8x8.png", "c-8x8.png"))).messages
    assert [url.rpartition("/")[2] for url in message.pictures] == [
        "a-8x8.png",
        "b-8x8.png",
        "c-8x8.png",
    ]
    assert message.album_ids == (11, 12)


def test_a_frame_without_a_picture_and_a_video_thumb() -> None:
    first, second = read(Post(1, "x", photos=("",)), Post(2, "y", video="v-8x8.png")).messages
    assert first.pictures == ()
    assert second.pictures == (f"{BASE}/pictures/v-8x8.png",)


def test_edited_changes_the_digest_views_and_addresses_do_not() -> None:
    post = Post(1, "words", photos=("a-8x8.png",))
    (old,) = read(post).messages
    (same,) = read(replace(post, views="9K", photos=("resigned-8x8.png",))).messages
    (new,) = read(replace(post, edited=True)).messages
    assert old.digest == same.digest != new.digest
    assert new.edited


def test_service_posts_are_left_out() -> None:
    page = read(Post(1, "Channel created", service=True), Post(2, "hello"))
    assert [message.message_id for message in page.messages] == [2]


def test_one_broken_post_does_not_hide_the_others() -> None:
    page = read(Post(1, "a"), Post(2, "b", date=""), Post(3, "c", date="yesterday"), Post(4, "d"))
    assert [message.message_id for message in page.messages] == [1, 4]
    assert len(page.problems) == 2
    assert "chan/2" in page.problems[0]


def test_a_post_of_another_channel_is_a_problem() -> None:
    html = render("other", Channel(posts={1: Post(1, "x")}), None, BASE)
    page = parse_page(html, "chan", BASE)
    assert page.messages == []
    assert "other/1" in page.problems[0]


def test_paging() -> None:
    posts = [Post(number, str(number)) for number in range(1, 46)]
    newest = read(*posts)
    assert [m.message_id for m in newest.messages] == list(range(26, 46))
    assert newest.before == 26
    assert read(*posts, before=26).before == 6
    assert read(*posts, before=6).before is None


def test_no_history_section_is_no_preview() -> None:
    with pytest.raises(NoPreviewError, match="no public preview"):
        read(Post(1, "x"), preview="missing")


def test_an_empty_channel_is_a_page_without_posts() -> None:
    assert read().messages == []


def test_markup_inside_the_text() -> None:
    html = (
        "<b>名称：</b>书<br/><pre>code\n here</pre><blockquote>quoted</blockquote>"
        '<a href="https://pan.baidu.com/s/1">点击</a> <a href="?q=%23t">#t</a>'
        "<script>alert(1)</script>&nbsp;end"
    )
    (message,) = read(Post(1, html=html)).messages
    assert message.body.text == "名称：书\n\ncode here\n\nquoted\n点击 #t end"
    (link,) = message.body.links
    assert message.body.text[link.start : link.end] == "点击"


@pytest.mark.parametrize(
    ("text", "views"),
    [
        ("0", 0),
        ("987", 987),
        ("1.2K", 1200),
        ("12K", 12000),
        ("3M", 3_000_000),
        ("1.05M", 1_050_000),
        ("1,5K", 1500),
        (" 7 ", 7),
        ("", None),
        ("many", None),
        ("K", None),
    ],
)
def test_views(text: str, views: int | None) -> None:
    assert parse_views(text) == views
