"""Reading and changing articles: every list leaves the deleted ones out, in a fixed few queries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.dialects.mysql import insert
from sqlalchemy.orm import Session, joinedload, selectinload

from tg2em_core import search
from tg2em_core.models import (
    TAG_LENGTH,
    TITLE_LENGTH,
    Article,
    ArticleTag,
    Category,
    Channel,
    Tag,
    utcnow,
)


@dataclass(frozen=True)
class Page:
    """One page of a list and how many articles the whole list has."""

    items: Sequence[Article]
    number: int
    size: int
    total: int

    @property
    def pages(self) -> int:
        """The number of pages; an empty list has one."""
        return max(1, -(-self.total // self.size))


@dataclass(frozen=True)
class Filter:
    """What a list shows: all of it, or what matches a query, a tag and a category."""

    query: str = ""
    tag: str = ""
    category: Category | None = None
    engine: search.Engine = search.Engine.GRAMS

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the WHERE conditions, the one that leaves out deleted articles among them."""
        found: list[ColumnElement[bool]] = [Article.deleted_at.is_(None)]
        if self.category:
            found.append(Article.category == self.category)
        if self.query.strip():
            found.append(search.condition(self.query, self.engine))
        if self.tag:
            tagged = select(ArticleTag.article_id).join(Tag, Tag.id == ArticleTag.tag_id)
            found.append(Article.id.in_(tagged.where(Tag.name == self.tag)))
        return found


def page(session: Session, wanted: Filter, number: int, size: int) -> Page:
    """Return a page, newest first: one query counts, one picks ids, two fetch the rows."""
    conditions = wanted.conditions()
    total = session.scalar(select(func.count(Article.id)).where(*conditions)) or 0
    pages = max(1, -(-total // size))
    number = min(max(1, number), pages)
    # The ids come out of the index alone, so that a far page does not read all rows before it.
    ids = session.scalars(
        select(Article.id)
        .where(*conditions)
        .order_by(Article.posted_at.desc(), Article.id.desc())
        .limit(size)
        .offset((number - 1) * size)
    ).all()
    found = {a.id: a for a in session.scalars(_full().where(Article.id.in_(ids)))} if ids else {}
    return Page([found[i] for i in ids if i in found], number, size, total)


def get(session: Session, article_id: int) -> Article | None:
    """Return one article that is not deleted, with its tags and channel."""
    return session.scalars(
        _full().where(Article.id == article_id, Article.deleted_at.is_(None))
    ).one_or_none()


def _full() -> Select[Article]:
    return select(Article).options(selectinload(Article.tags), joinedload(Article.channel))


def edit(
    session: Session, article: Article, *, name: str, description: str, link: str, tags: list[str]
) -> None:
    """Change an article's words as an administrator; the scraper leaves them alone from then on."""
    article.name = name
    article.title = cut_title(name)
    article.description = description
    article.link = link
    article.tags = tags_for(session, tags)
    article.locked = True


def delete(article: Article) -> None:
    """Take an article out of every list; the message stays known and does not come again."""
    article.deleted_at = utcnow()


def restore(article: Article) -> None:
    """Put a deleted article back."""
    article.deleted_at = None


def cut_title(name: str) -> str:
    """Return the first TITLE_LENGTH characters of a name, on a character boundary."""
    return name.strip()[:TITLE_LENGTH].strip()


def tags_for(session: Session, names: Iterable[str]) -> list[Tag]:
    """Return the tags of these names, made when missing; two scrapers may ask at once."""
    wanted = list(dict.fromkeys(n.strip().removeprefix("#")[:TAG_LENGTH] for n in names))
    wanted = [n for n in wanted if n]
    if not wanted:
        return []
    session.execute(insert(Tag).prefix_with("IGNORE"), [{"name": n} for n in wanted])
    found = {t.name: t for t in session.scalars(select(Tag).where(Tag.name.in_(wanted)))}
    return [found[n] for n in wanted if n in found]


def popular_tags(session: Session, limit: int = 20) -> list[tuple[str, int]]:
    """Return the tags that most undeleted articles carry, with their number."""
    count = func.count(ArticleTag.article_id)
    rows = session.execute(
        select(Tag.name, count)
        .join(ArticleTag, ArticleTag.tag_id == Tag.id)
        .join(Article, Article.id == ArticleTag.article_id)
        .where(Article.deleted_at.is_(None))
        .group_by(Tag.id, Tag.name)
        .order_by(count.desc(), Tag.name)
        .limit(limit)
    )
    return [(name, number) for name, number in rows]


def statistics(session: Session) -> dict[str, object]:
    """Return the totals that /api/stats and /metrics publish."""
    by_category = dict.fromkeys((c.value for c in Category), 0)
    rows = session.execute(
        select(Article.category, func.count(Article.id))
        .where(Article.deleted_at.is_(None))
        .group_by(Article.category)
    )
    for category, number in rows:
        by_category[category.value] = number
    newest = session.scalar(select(func.max(Article.posted_at)).where(Article.deleted_at.is_(None)))
    channels = session.scalar(select(func.count(Channel.id)).where(Channel.enabled)) or 0
    return {
        "articles": sum(by_category.values()),
        "by_category": by_category,
        "channels": channels,
        "newest": newest.isoformat() if newest else None,
    }
