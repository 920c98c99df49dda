"""From preview pages into a real database and an image service."""

import threading
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import ANY

import pytest
from image_server import ImageServer
from preview_server import Channel, Post, PreviewServer, demo
from scraper_harness import Scraper
from sqlalchemy import func, select, text
from tg2em_core import articles
from tg2em_core.db import transaction
from tg2em_core.models import Category, Message, Outcome, PictureRetry, ProcessedMessage, utcnow
from tg2em_scraper.reader import Reader
from tg2em_scraper.runner import Stopping
from tg2em_scraper.source import Page
from tg2em_scraper.store import FAILED_ATTEMPTS
from tg2em_scraper.webpage import PreviewSource


def resource(number: int, **more: Any) -> Post:
    text = f"名称：资源 {number}\n链接：https://pan.quark.cn/s/{number}\n标签：#t{number % 3}"
    return replace(Post(number, text), **more)


class Cut(Exception):
    """The scraper was stopped here."""


def cut() -> None:
    raise Cut


def posts(first: int, last: int) -> dict[int, Post]:
    return {number: resource(number) for number in range(first, last + 1)}


def ledger(scraper: Scraper) -> dict[int, Outcome]:
    with scraper.sessions() as session:
        return {row.message_id: row.outcome for row in session.scalars(select(ProcessedMessage))}


def waiting(scraper: Scraper) -> list[PictureRetry]:
    with scraper.sessions() as session:
        return list(session.scalars(select(PictureRetry)))


def due_now(scraper: Scraper) -> None:
    """As though the delays of all waiting pictures were over."""
    with transaction(scraper.sessions) as session:
        for row in session.scalars(select(PictureRetry)):
            row.next_attempt_at = utcnow() - timedelta(seconds=1)
    scraper.runner.pictures._service_again_at = 0.0


def test_articles_with_pictures(
    scraper: Scraper, pages: PreviewServer, images: ImageServer
) -> None:
    pages.channels = demo()
    scraper.add("demo")
    scraper.cycle()
    found = scraper.articles()
    assert [found[number].category for number in sorted(found)] == [
        Category.QUARK,
        Category.ALIYUN,
        Category.BAIDU,
        Category.MOBILE,
        Category.OTHER,
    ]
    first = found[1]
    assert (first.title, first.size, first.views) == ("三体 全集 4K 修复版", "38.5GB", 1100)
    assert {tag.name for tag in first.tags} == {"科幻", "剧集"}
    assert first.description == "三体 全集 4K 修复版，画质清晰。\n第二行描述。"
    assert all(article.image.startswith("/d/") for article in found.values())
    stored = images.files[first.image.removeprefix("/d/")]
    assert stored[:4] == b"RIFF" and stored[8:12] == b"WEBP"
    assert waiting(scraper) == []
    channel = scraper.channel("demo")
    assert (channel.title, channel.newest_message_id, channel.backfilled) == ("演示频道", 5, True)
    assert channel.last_error == "" and channel.last_checked_at is not None


def test_search_finds_what_was_scraped(scraper: Scraper, pages: PreviewServer) -> None:
    pages.channels = demo()
    scraper.add("demo")
    scraper.cycle()
    with scraper.sessions() as session:
        page = articles.page(session, articles.Filter(query="流浪地球"), 1, 10)
    assert [article.message_id for article in page.items] == [2]


def test_a_message_is_stored_once_for_good(
    scraper: Scraper, pages: PreviewServer, images: ImageServer
) -> None:
    pages.channels = demo()
    scraper.add("demo")
    scraper.cycle()
    uploads = images.uploads
    with transaction(scraper.sessions) as session:
        article = articles.get(session, scraper.articles()[2].id)
        assert article is not None
        articles.delete(article)
    pages.channels["demo"].posts[2] = replace(pages.channels["demo"].posts[2], edited=True)
    for _ in range(2):
        scraper.cycle()
    found = scraper.articles()
    assert len(found) == 5
    assert found[2].deleted_at is not None, "an edit must not bring a deleted article back"
    assert images.uploads == uploads
    assert waiting(scraper) == []


def test_edits_update_their_article(scraper: Scraper, pages: PreviewServer) -> None:
    pages.channels = {"chan": Channel(posts=posts(1, 3))}
    scraper.add("chan")
    scraper.cycle()
    before = scraper.articles()
    text = "名称：新名字\n描述：改了\n链接：https://pan.baidu.com/s/9\n标签：#new"
    pages.channels["chan"].posts[2] = Post(2, text, edited=True, views="5K")
    scraper.cycle()
    after = scraper.articles()
    assert after[2].id == before[2].id
    assert (after[2].title, after[2].description, after[2].views) == ("新名字", "改了", 5000)
    assert after[2].category is Category.BAIDU
    assert [tag.name for tag in after[2].tags] == ["new"]
    assert after[1].updated_at == before[1].updated_at
    with scraper.sessions() as session:
        row = session.scalars(select(Message).where(Message.message_id == 2)).one()
    assert row.text == text and row.edited_at is not None


def test_an_administrators_words_stay(scraper: Scraper, pages: PreviewServer) -> None:
    pages.channels = {"chan": Channel(posts=posts(1, 1))}
    scraper.add("chan")
    scraper.cycle()
    with transaction(scraper.sessions) as session:
        article = articles.get(session, scraper.articles()[1].id)
        assert article is not None
        articles.edit(
            session, article, name="by hand", description="", link="https://x.example", tags=["k"]
        )
    pages.channels["chan"].posts[1] = resource(1, text="名称：other", edited=True, views="2K")
    scraper.cycle()
    article = scraper.articles()[1]
    assert (article.title, article.link, article.views) == ("by hand", "https://x.example", 2000)


def test_a_picture_that_gets_its_text_later(scraper: Scraper, pages: PreviewServer) -> None:
    pages.channels = {"chan": Channel(posts={1: Post(1, photos=("a-8x8.png",))})}
    scraper.add("chan")
    scraper.cycle()
    assert scraper.articles() == {}
    assert ledger(scraper) == {1: Outcome.IGNORED}
    pages.channels["chan"].posts[1] = resource(1, photos=("a-8x8.png",), edited=True)
    scraper.cycle()
    assert scraper.articles()[1].image.startswith("/d/")
    assert ledger(scraper) == {1: Outcome.ARTICLE}


def test_views_grow_without_an_edit(scraper: Scraper, pages: PreviewServer) -> None:
    pages.channels = {"chan": Channel(posts={1: resource(1, views="10")})}
    scraper.add("chan")
    scraper.cycle()
    pages.channels["chan"].posts[1] = resource(1, views="1.5K")
    scraper.cycle()
    assert scraper.articles()[1].views == 1500


def test_an_album_is_one_article_and_its_parts_do_not_come_back(
    scraper: Scraper, pages: PreviewServer
) -> None:
    pages.channels = {"chan": Channel(posts={10: resource(10, photos=("a-8x8.png", "b-8x8.png"))})}
    scraper.add("chan")
    scraper.cycle()
    pages.channels["chan"].posts[11] = resource(11)
    scraper.cycle()
    assert set(scraper.articles()) == {10}
    assert ledger(scraper) == {10: Outcome.ARTICLE, 11: Outcome.IGNORED}


def test_blocked_tags(scraper: Scraper, pages: PreviewServer) -> None:
    pages.channels = {"chan": Channel(posts={1: Post(1, "名称：x\n标签：#good #Ads")})}
    scraper.set(scraper_blocked_tags=["ads"])
    scraper.add("chan")
    scraper.cycle()
    assert [tag.name for tag in scraper.articles()[1].tags] == ["good"]


def test_history_is_followed_back_as_far_as_set(scraper: Scraper, pages: PreviewServer) -> None:
    pages.channels = {"chan": Channel(posts=posts(1, 200))}
    scraper.set(scraper_backfill_pages=3)
    scraper.add("chan")
    scraper.cycle()
    assert sorted(scraper.articles()) == list(range(121, 201))
    pages.requests.clear()
    scraper.cycle()
    assert pages.requests == ["/s/chan"], "read back once, not every time"


def test_a_gap_is_closed_even_when_the_walk_was_cut_short(
    scraper: Scraper, pages: PreviewServer
) -> None:
    pages.channels = {"chan": Channel(posts=posts(1, 20))}
    scraper.add("chan")
    scraper.cycle()
    pages.channels["chan"].posts.update(posts(21, 120))
    channel, options = scraper.channel("chan"), scraper.runner.store.options()
    source = PreviewSource(scraper.runner._http, pages.url, scraper.runner.pause, 0.0)

    with pytest.raises(Cut):
        Reader(scraper.runner.store, cut).read(channel, source, options)
    assert len(scraper.articles()) == 40
    assert scraper.channel("chan").newest_message_id == 20
    scraper.cycle()
    assert sorted(scraper.articles()) == list(range(1, 121))
    assert scraper.channel("chan").newest_message_id == 120


def test_a_backfill_goes_on_where_it_was_cut_short(scraper: Scraper, pages: PreviewServer) -> None:
    pages.channels = {"chan": Channel(posts=posts(1, 60))}
    scraper.add("chan")
    channel, options = scraper.channel("chan"), scraper.runner.store.options()
    source = PreviewSource(scraper.runner._http, pages.url, scraper.runner.pause, 0.0)
    with pytest.raises(Cut):
        Reader(scraper.runner.store, cut).read(channel, source, options)
    assert sorted(scraper.articles()) == list(range(41, 61))
    assert not scraper.channel("chan").backfilled
    scraper.cycle()
    assert sorted(scraper.articles()) == list(range(1, 61))


def test_pages_that_lead_in_a_circle(scraper: Scraper) -> None:
    class Circle:
        asked = 0

        def page(self, channel: str, before: int | None) -> Page:
            self.asked += 1
            assert self.asked < 10
            return Page(before=50)

    scraper.add("chan")
    source = Circle()
    Reader(scraper.runner.store).read(
        scraper.channel("chan"), source, scraper.runner.store.options()
    )
    assert source.asked == 2


def test_a_wait_ends_when_the_scraper_is_to_stop(scraper: Scraper) -> None:
    scraper.stop.set()
    with pytest.raises(Stopping):
        scraper.runner.pause(600)


def test_429_is_waited_for(scraper: Scraper, pages: PreviewServer) -> None:
    pages.channels = {"chan": Channel(posts=posts(1, 2), throttle=2, retry_after="1")}
    scraper.add("chan")
    before = utcnow()
    scraper.cycle()
    assert (utcnow() - before).total_seconds() >= 2
    assert set(scraper.articles()) == {1, 2}
    assert scraper.channel("chan").last_error == ""


def test_a_server_that_only_throttles_is_left_alone(
    scraper: Scraper, pages: PreviewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(scraper.runner, "pause", waits.append)
    pages.channels = {
        "chan": Channel(posts=posts(1, 2), throttle=99, retry_after=""),
        "two": Channel(),
    }
    scraper.add("chan")
    scraper.add("two")
    scraper.cycle()
    assert waits == [15, 30, 60, 120]
    assert "429" in scraper.channel("chan").last_error
    scraper.cycle()
    assert len(pages.requests) == 5, "the other channel is on the same server: it waits as well"


def test_errors_of_the_server_are_tried_again(
    scraper: Scraper, pages: PreviewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(scraper.runner, "pause", waits.append)
    pages.channels = {"chan": Channel(posts=posts(1, 2), errors=3)}
    scraper.add("chan")
    scraper.cycle()
    assert waits == [1, 2, 4]
    assert set(scraper.articles()) == {1, 2}
    pages.channels["chan"].errors = 99
    scraper.cycle()
    assert scraper.channel("chan").last_error == "127.0.0.1: HTTP 500"
    pages.channels["chan"].errors = 0
    scraper.cycle()
    assert scraper.channel("chan").last_error == ""


@pytest.mark.parametrize(
    ("preview", "why"),
    [("redirect", "the page leads away from /s/"), ("missing", "the page has no channel history")],
)
def test_no_public_preview_is_noted_and_others_are_read(
    scraper: Scraper, pages: PreviewServer, preview: str, why: str
) -> None:
    pages.channels = {"hidden": Channel(preview=preview), "open": Channel(posts=posts(1, 1))}
    scraper.add("hidden")
    scraper.add("open")
    scraper.cycle()
    assert scraper.channel("hidden").last_error == f"no public preview: {why}"
    assert scraper.channel("hidden").last_checked_at is not None
    assert set(scraper.articles()) == {1}
    pages.channels["hidden"] = Channel(posts=posts(7, 7))
    scraper.cycle()
    assert scraper.channel("hidden").last_error == ""


def test_one_bad_message_never_stops_a_channel(scraper: Scraper, pages: PreviewServer) -> None:
    made = posts(1, 4)
    made[1] = resource(1, date="")  # unreadable
    made[2] = resource(2, views="9" * 30)  # does not fit its column
    pages.channels = {"chan": Channel(posts=made)}
    scraper.add("chan")
    scraper.cycle()
    assert set(scraper.articles()) == {3, 4}
    assert ledger(scraper)[2] is Outcome.FAILED
    with scraper.sessions() as session:
        entry = session.scalars(
            select(ProcessedMessage).where(ProcessedMessage.message_id == 2)
        ).one()
        assert "views" in entry.error and "INSERT" not in entry.error
        assert session.scalar(select(func.count(Message.id))) == 2, "nothing half-stored"
    made[2] = resource(2)
    scraper.cycle()
    assert set(scraper.articles()) == {2, 3, 4}
    assert ledger(scraper)[2] is Outcome.ARTICLE


def test_a_bad_message_is_not_tried_for_ever(scraper: Scraper, pages: PreviewServer) -> None:
    pages.channels = {"chan": Channel(posts={1: resource(1, views="9" * 30)})}
    scraper.add("chan")
    for _ in range(FAILED_ATTEMPTS + 3):
        scraper.cycle()
    with scraper.sessions() as session:
        assert session.scalars(select(ProcessedMessage.attempts)).one() == FAILED_ATTEMPTS


def test_the_image_service_is_down_and_comes_back(
    scraper: Scraper, pages: PreviewServer, images: ImageServer
) -> None:
    pages.channels = demo()
    scraper.add("demo")
    images.stop()
    scraper.cycle()
    assert len(scraper.articles()) == 5
    assert {article.image for article in scraper.articles().values()} == {""}
    assert len(waiting(scraper)) == 5
    fetched = len([path for path in pages.requests if "pictures" in path])
    assert fetched == 1, "nothing is fetched for a service that is down"
    images.start()
    scraper.runner.cycle()
    assert len(waiting(scraper)) == 5, "not asked again before its delay is over"
    due_now(scraper)
    scraper.runner.cycle()
    assert all(article.image for article in scraper.articles().values())
    assert waiting(scraper) == []


def test_pictures_that_are_gone_broken_or_second_best(
    scraper: Scraper, pages: PreviewServer
) -> None:
    pages.channels = {
        "chan": Channel(
            posts={
                1: resource(1, photos=("gone.png",)),
                3: resource(3, photos=("broken.png",)),
                5: resource(5, photos=("broken.png", "gone.png", "good-8x8.png")),
            }
        )
    }
    scraper.add("chan")
    scraper.cycle()
    found = scraper.articles()
    assert (found[1].image, found[3].image, found[5].image) == ("", "", ANY)
    assert found[5].image.startswith("/d/")
    (later,) = waiting(scraper)
    assert later.article_id == found[1].id
    assert later.attempts == 1 and "HTTP 404" in later.last_error
    assert later.next_attempt_at > utcnow() + timedelta(seconds=5)
    pages.channels["chan"].posts[1] = resource(1, photos=("fresh-8x8.png",))
    scraper.cycle()
    due_now(scraper)
    scraper.runner.cycle()
    assert scraper.articles()[1].image.startswith("/d/"), "a fresh address is taken over"
    assert pages.requests.count("/pictures/gone.png") == 2, "and the old one left alone"


def test_a_picture_is_given_up_in_the_end(scraper: Scraper, pages: PreviewServer) -> None:
    pages.channels = {"chan": Channel(posts={1: resource(1, photos=("gone.png",))})}
    scraper.add("chan")
    scraper.cycle()
    for _ in range(20):
        due_now(scraper)
        scraper.runner.cycle()
    assert waiting(scraper) == []
    assert len([path for path in pages.requests if "gone" in path]) == 12


def test_no_pictures_when_they_are_switched_off(
    scraper: Scraper, pages: PreviewServer, images: ImageServer
) -> None:
    pages.channels = demo()
    scraper.set(picture_enabled=False)
    scraper.add("demo")
    scraper.cycle()
    assert waiting(scraper) == [] and images.uploads == 0


def test_the_interval_and_the_switch(scraper: Scraper, pages: PreviewServer) -> None:
    pages.channels = demo()
    channel = scraper.add("demo")
    scraper.runner.cycle()
    scraper.runner.cycle()
    assert pages.requests.count("/s/demo") == 1, "not before its interval is over"
    with transaction(scraper.sessions) as session:
        session.execute(
            text("UPDATE channels SET last_checked_at = :at WHERE id = :id"),
            {"at": utcnow().replace(tzinfo=None) - timedelta(seconds=301), "id": channel},
        )
    scraper.set(scraper_enabled=False)
    scraper.runner.cycle()
    assert pages.requests.count("/s/demo") == 1
    scraper.set(scraper_enabled=True)
    scraper.runner.cycle()
    assert pages.requests.count("/s/demo") == 2


def test_an_error_of_our_own_in_one_channel(
    scraper: Scraper, pages: PreviewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages.channels = {"bad": Channel(posts=posts(1, 1)), "good": Channel(posts=posts(2, 2))}
    scraper.add("bad")
    scraper.add("good")
    page = PreviewSource.page

    def breaking(self: PreviewSource, channel: str, before: int | None) -> object:
        if channel == "bad":
            raise RuntimeError("a fault")
        return page(self, channel, before)

    monkeypatch.setattr(PreviewSource, "page", breaking)
    scraper.cycle()
    assert "RuntimeError" in scraper.channel("bad").last_error
    assert set(scraper.articles()) == {2}


def test_an_account_channel_says_that_nobody_is_signed_in(scraper: Scraper) -> None:
    from tg2em_core.models import Source

    scraper.add("private", Source.ACCOUNT)
    scraper.cycle()
    assert "sign in on the admin page" in scraper.channel("private").last_error


def test_a_deadlock_with_an_editor_is_tried_again(scraper: Scraper, pages: PreviewServer) -> None:
    """A real one: each of the two holds a row that the other waits for."""
    pages.channels = {"chan": Channel(posts=posts(1, 1))}
    scraper.add("chan")
    scraper.cycle()
    changed = "名称：资源 1\n描述：改\n链接：https://pan.quark.cn/s/1"
    pages.channels["chan"].posts[1] = Post(1, changed, edited=True)
    reading = threading.Thread(target=scraper.cycle)
    with transaction(scraper.sessions) as editor:
        # The heavier transaction survives: with these rows it is the editor's.
        editor.execute(
            text(
                "INSERT INTO settings (name, value, updated_at) "
                "SELECT CONCAT('t', seq), '1', NOW() FROM seq_1_to_200"
            )
        )
        editor.execute(text("UPDATE articles SET views = views + 1"))
        reading.start()
        _until_somebody_waits(scraper)
        editor.execute(text("UPDATE messages SET views = 7"))
        editor.execute(text("DELETE FROM settings WHERE name LIKE 't%'"))
    reading.join(timeout=30)
    assert not reading.is_alive()
    assert scraper.articles()[1].description == "改"
    assert scraper.channel("chan").last_error == ""


def _until_somebody_waits(scraper: Scraper) -> None:
    asked = text(
        "SELECT COUNT(*) FROM information_schema.processlist "
        "WHERE info LIKE 'UPDATE articles%' AND time_ms > 100"
    )
    deadline = time.monotonic() + 60
    while True:
        with scraper.sessions() as session:
            if session.scalar(asked):
                return
        assert time.monotonic() < deadline, "the scraper never came to the editor's row"
        time.sleep(0.05)
