"""The knowledge base: articles, each a chain of versions of which one is shown.

Nothing is overwritten: an edit adds a version, and going back adds a copy of an older one.
"""

import time
from dataclasses import dataclass

from chatbot import search
from chatbot.db import Connection, Database, Row

LONGEST_TITLE = 200
LONGEST_BODY = 20_000
# From here on an article is taken for an answer: half of what is asked for.
_ENOUGH = 0.5
_CANDIDATES = 30

_ARTICLE = "SELECT * FROM articles WHERE id = %s"
_SHOWN = (
    "SELECT a.id, a.version, a.published, v.title, v.body, v.author, v.created_at FROM articles a"
    " JOIN versions v ON v.article_id = a.id AND v.number = a.version"
)


class Conflict(Exception):
    """Somebody else has changed the article meanwhile."""


@dataclass(frozen=True)
class Found:
    """An article that speaks of a question."""

    id: int
    title: str
    body: str
    score: float


def add(connection: Connection, title: str, body: str, author: str, note: str = "") -> int:
    """Make an article and return its number."""
    found: int = connection.value("INSERT INTO articles (version) VALUES (1) RETURNING id")
    _version(connection, found, 1, title, body, author, note)
    search.put(connection, found, title, body)
    return found


def edit(
    connection: Connection,
    article: int,
    title: str,
    body: str,
    author: str,
    *,
    base: int | None = None,
    note: str = "",
) -> int:
    """Add a version and return its number; raises Conflict when `base` is no longer shown, and
    LookupError when there is no such article."""
    lock = "" if connection.sqlite else " FOR UPDATE"
    there = connection.row(_ARTICLE + lock, [article])
    if there is None:
        raise LookupError(article)
    if base is not None and there["version"] != base:
        raise Conflict
    number = int(there["version"]) + 1
    _version(connection, article, number, title, body, author, note)
    connection.run("UPDATE articles SET version = %s WHERE id = %s", [number, article])
    if there["published"]:
        search.put(connection, article, title, body)
    return number


def revert(connection: Connection, article: int, number: int, author: str) -> int:
    """Show an older version again, as a new one; raises LookupError."""
    old = connection.row(
        "SELECT title, body FROM versions WHERE article_id = %s AND number = %s", [article, number]
    )
    if old is None:
        raise LookupError(article)
    return edit(connection, article, old["title"], old["body"], author, note=f"= {number}")


def publish(connection: Connection, article: int, *, shown: bool) -> None:
    """Have an article answer, or not; raises LookupError."""
    changed = connection.run(
        "UPDATE articles SET published = %s WHERE id = %s", [int(shown), article]
    )
    row = connection.row(f"{_SHOWN} WHERE a.id = %s", [article]) if changed else None
    if row is None:
        raise LookupError(article)
    if shown:
        search.put(connection, article, row["title"], row["body"])
    else:
        search.drop(connection, article)


def take_in(connection: Connection, title: str, body: str, author: str, note: str) -> str:
    """Add an imported article, or a version of the one of its title: "added", "changed" or ""."""
    there = connection.row(f"{_SHOWN} WHERE v.title = %s ORDER BY a.id LIMIT 1", [title])
    if there is None:
        add(connection, title, body, author, note)
        return "added"
    if there["body"] == body:
        return ""
    edit(connection, there["id"], title, body, author, note=note)
    return "changed"


def _version(
    connection: Connection, article: int, number: int, title: str, body: str, author: str, note: str
) -> None:
    connection.run(
        "INSERT INTO versions (article_id, number, title, body, author, note, created_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [article, number, title, body, author, note, time.time()],
    )


def shown(database: Database, after: int = 0, most: int = 100) -> list[Row]:
    """Return articles in their shown versions, by number."""
    return database.rows(f"{_SHOWN} WHERE a.id > %s ORDER BY a.id LIMIT %s", [after, most])


def article(database: Database, number: int) -> Row | None:
    """Return an article in its shown version."""
    return database.row(f"{_SHOWN} WHERE a.id = %s", [number])


def versions(database: Database, number: int) -> list[Row]:
    """Return the versions of an article, newest first."""
    return database.rows(
        "SELECT * FROM versions WHERE article_id = %s ORDER BY number DESC LIMIT 200", [number]
    )


def find(database: Database, question: str, most: int = 3) -> list[Found]:
    """Return what answers a question, the best first; nothing when nothing does."""
    wanted = search.question_tokens(question)
    with database.transaction(write=False) as connection:
        numbers = search.candidates(connection, wanted, _CANDIDATES)
        if not numbers:
            return []
        marks = ", ".join(["%s"] * len(numbers))
        rows = connection.rows(f"{_SHOWN} WHERE a.published = 1 AND a.id IN ({marks})", numbers)
    scored = [
        Found(row["id"], row["title"], row["body"], value)
        for row in rows
        if (value := search.score(wanted, row["title"], row["body"])) >= _ENOUGH
    ]
    return sorted(scored, key=lambda found: (-found.score, found.id))[:most]
