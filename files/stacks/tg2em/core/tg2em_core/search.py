"""Full-text search over articles, for Chinese as for English, on MySQL and on MariaDB.

MySQL's ngram parser indexes `articles.search_text`. MariaDB has no such parser, so there
`articles.search_grams` holds the overlapping pieces of the text as words of their own and an
ordinary full-text index finds them. Both answers are then narrowed by LIKE, so that what is found
is exactly what contains the words of the query, whichever server answers.
"""

import re
import unicodedata
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, and_, event, text
from sqlalchemy.dialects.mysql import match
from sqlalchemy.orm import Session, UOWTransaction

from tg2em_core.models import Article

NGRAM_INDEX = "ft_articles_search_text"
GRAMS_INDEX = "ft_articles_search_grams"
MAX_TERMS = 8

# InnoDB ignores words of fewer than three characters (innodb_ft_min_token_size), and a piece of
# Chinese text is two: the suffix makes each piece a word that is long enough and no stop word.
_PAD = "zq"
_RUN = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]+|[^\W_]+")
_IDEOGRAPH = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")


class Engine(StrEnum):
    """Which of the two full-text indexes this database has."""

    NGRAM = "ngram"
    GRAMS = "grams"


def normalise(value: str) -> str:
    """Fold width and case, so that `ＡＢＣ`, `abc` and `ABC` are one."""
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split())


def grams(value: str) -> list[str]:
    """Return the index words of a text: pairs of ideographs, triples of other letters, no twice."""
    words: dict[str, None] = {}
    for run in _runs(normalise(value)):
        size = 2 if _IDEOGRAPH.match(run) else 3
        for start in range(len(run) - size + 1):
            words[run[start : start + size] + _PAD] = None
    return list(words)


def _runs(value: str) -> list[str]:
    parts: list[str] = []
    for run in _RUN.findall(value):
        # `[^\W_]` takes ideographs too: split where the two kinds of writing meet.
        parts.extend(p for p in re.split(f"({_IDEOGRAPH.pattern}+)", run) if p)
    return parts


def terms(query: str) -> list[str]:
    """Return the words that must all be there; more than MAX_TERMS are not looked at."""
    return normalise(query).split()[:MAX_TERMS]


def condition(query: str, engine: Engine) -> ColumnElement[bool]:
    """Return the WHERE condition that an article contains every word of the query."""
    clauses: list[ColumnElement[bool]] = []
    for term in terms(query):
        narrowed = _indexed(term, engine)
        if narrowed is not None:
            clauses.append(narrowed)
        clauses.append(Article.search_text.contains(term, autoescape=True))
    return and_(*clauses)


def _indexed(term: str, engine: Engine) -> ColumnElement[bool] | None:
    # A term too short for the index is left to LIKE alone, within the undeleted articles.
    if engine is Engine.NGRAM:
        if len(term) < 2 or '"' in term:
            return None
        return match(Article.search_text.expression, against=f'"{term}"').in_boolean_mode()
    words = grams(term)
    if not words:
        return None
    return match(
        Article.search_grams.expression, against=" ".join(f"+{w}" for w in words)
    ).in_boolean_mode()


def detect(connection: Connection) -> Engine:
    """Say which full-text index the migration made on this server."""
    found = connection.execute(
        text(
            "SELECT 1 FROM information_schema.statistics WHERE table_schema = DATABASE()"
            " AND table_name = 'articles' AND index_name = :name LIMIT 1"
        ),
        {"name": NGRAM_INDEX},
    ).first()
    return Engine.NGRAM if found else Engine.GRAMS


@event.listens_for(Session, "before_flush")
def _refresh(session: Session, _context: UOWTransaction, _instances: object) -> None:
    for item in [*session.new, *session.dirty]:
        if isinstance(item, Article):
            words = [item.name or item.title or "", item.description or ""]
            words += [tag.name for tag in item.tags]
            plain = normalise("\n".join(words))
            if item.search_text != plain:
                item.search_text = plain
                item.search_grams = " ".join(grams(plain))
