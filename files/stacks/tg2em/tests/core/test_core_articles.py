"""Lists, tags and search against a real database."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import Engine, event, func, select, text
from tg2em_core import articles, search
from tg2em_core.articles import Filter
from tg2em_core.db import SessionFactory, transaction
from tg2em_core.models import Article, Category, Channel, Tag, utcnow

NAMES = (
    "流浪地球2 4K 国语中字",
    "Python 从入门到实践",
    "ＡＢＣ 全角 100%",
    "三体 under_score",
    "C++",
)


@pytest.fixture
def filled(empty: SessionFactory) -> SessionFactory:
    """Five articles, the first the newest."""
    with transaction(empty) as session:
        session.add(Channel(id=1, name="demo"))
        session.flush()
        for number, name in enumerate(NAMES):
            session.add(
                Article(
                    id=number + 1,
                    channel_id=1,
                    message_id=number + 1,
                    name=name,
                    title=articles.cut_title(name),
                    description="第一行\n第二行" if number else "一部电影",
                    category=Category.QUARK if number % 2 else Category.BAIDU,
                    posted_at=utcnow() - timedelta(hours=number),
                    tags=articles.tags_for(session, ["资源", f"tag{number}"]),
                )
            )
    return empty


def ids(sessions: SessionFactory, wanted: Filter, number: int = 1, size: int = 10) -> list[int]:
    """The ids of a page's articles."""
    with sessions() as session:
        return [article.id for article in articles.page(session, wanted, number, size).items]


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """Collect what is sent to the database."""
    seen: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def test_newest_first_in_pages(filled: SessionFactory) -> None:
    assert ids(filled, Filter(), 1, 2) == [1, 2]
    assert ids(filled, Filter(), 3, 2) == [5]
    # A page that is no more shows the last one.
    assert ids(filled, Filter(), 99, 2) == [5]
    assert ids(filled, Filter(), -1, 2) == [1, 2]


def test_a_deleted_article_is_in_no_list(filled: SessionFactory) -> None:
    with transaction(filled) as session:
        found = articles.get(session, 1)
        assert found is not None
        articles.delete(found)
    with filled() as session:
        assert articles.get(session, 1) is None
        assert articles.statistics(session)["articles"] == 4
        assert ("tag0", 1) not in articles.popular_tags(session)
        assert ("资源", 4) in articles.popular_tags(session)
    for wanted in (Filter(), Filter(query="流浪"), Filter(tag="tag0"), Filter(tag="资源")):
        assert 1 not in ids(filled, wanted)


def test_by_tag_and_category(filled: SessionFactory) -> None:
    assert ids(filled, Filter(tag="tag2")) == [3]
    assert ids(filled, Filter(tag="TAG2")) == []
    assert ids(filled, Filter(category=Category.QUARK)) == [2, 4]
    assert ids(filled, Filter(tag="资源", category=Category.QUARK)) == [2, 4]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("流浪地球", [1]),
        ("浪地", [1]),
        ("电", [1]),
        ("python 实践", [2]),
        ("PYTHON", [2]),
        ("abc", [3]),
        ("ａｂｃ", [3]),
        ("100%", [3]),
        ("under_score", [4]),
        ("underscore", []),
        ("c++", [5]),
        ("第二行", [2, 3, 4, 5]),
        ("tag3", [4]),
        ("流浪 python", []),
        ('"流浪" +(-地球*) ~<>@', []),
        ("%", [3]),
        ("   ", [1, 2, 3, 4, 5]),
    ],
)
def test_search_finds_what_contains_every_word(
    filled: SessionFactory, query: str, found: list[int]
) -> None:
    with filled() as session:
        engine = search.detect(session.connection())
    assert ids(filled, Filter(query=query, engine=engine)) == found


def test_search_follows_an_edit(filled: SessionFactory) -> None:
    with transaction(filled) as session:
        found = articles.get(session, 5)
        assert found is not None
        articles.edit(
            session, found, name="宫崎骏 全集", description="", link="", tags=["动画", "#动画"]
        )
        assert found.locked
    assert ids(filled, Filter(query="宫崎骏")) == [5]
    assert ids(filled, Filter(query="动画")) == [5]
    assert ids(filled, Filter(query="c++")) == []


def test_search_uses_the_full_text_index(filled: SessionFactory) -> None:
    with filled() as session:
        engine = search.detect(session.connection())
        query = select(Article.id).where(search.condition("流浪地球", engine))
        sql = query.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
        plan = session.execute(text(f"EXPLAIN {str(sql).replace('%', '%%')}")).mappings().one()
    assert plan["type"] == "fulltext"
    assert plan["key"] in (search.NGRAM_INDEX, search.GRAMS_INDEX)


def test_on_mysql_the_ngram_parser_s_index_is_asked(engine: Engine) -> None:
    sql = str(search.condition("地球", search.Engine.NGRAM).compile(engine))
    assert "MATCH (articles.search_text) AGAINST" in sql


def test_a_page_takes_the_same_few_queries_whatever_its_size(
    filled: SessionFactory, engine: Engine
) -> None:
    counts = []
    for size in (1, 5):
        with statements(engine) as seen, filled() as session:
            for article in articles.page(session, Filter(), 1, size).items:
                assert article.channel.name == "demo" and article.tags
        counts.append(sum(s.startswith("SELECT") for s in seen))
    assert counts == [4, 4]


def test_two_at_once_make_one_tag(empty: SessionFactory) -> None:
    barrier = threading.Barrier(2)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with transaction(empty) as session:
                barrier.wait(10)
                assert len(articles.tags_for(session, ["同", "名", "同"])) == 2
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failures
    with empty() as session:
        assert session.scalar(select(func.count(Tag.id))) == 2


def test_pieces_of_a_text() -> None:
    assert search.grams("流浪地球") == ["流浪zq", "浪地zq", "地球zq"]
    assert search.grams("4K电影") == ["电影zq"]
    assert search.grams("Linux") == ["linzq", "inuzq", "nuxzq"]


def test_a_title_is_cut_between_characters() -> None:
    assert articles.cut_title("字" * 30) == "字" * 24
    assert articles.cut_title("  short ") == "short"
