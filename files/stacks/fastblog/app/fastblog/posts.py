"""Posts, their tags, and the search through them."""

import re
import secrets
import sqlite3
import time
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from fastblog import markup
from fastblog.db import Database
from moorage.application.words import tokens

Row = sqlite3.Row
PAGE = 10
_MOST_TAGS, _MOST_WORDS = 10, 32
_LIST = "SELECT p.* FROM posts p WHERE p.published = 1"
_ORDER = " ORDER BY p.published_at DESC, p.id DESC LIMIT ? OFFSET ?"


@dataclass
class Draft:
    """A post as it was written: cut to size and freed of what cannot be shown."""

    title: str
    body: str
    slug: str = ""
    tags: Iterable[str] = ()
    published: bool = False
    # When, of one that comes from elsewhere.
    at: float | None = None
    html: str = field(init=False)

    def __post_init__(self) -> None:
        self.title = line(self.title, 200)
        self.body = plain(self.body)[: markup.LONGEST_POST]
        self.slug = slug(self.slug) or slug(self.title) or secrets.token_hex(4)
        found = dict.fromkeys(slug(tag) for tag in self.tags)
        self.tags = [tag for tag in found if tag][:_MOST_TAGS]
        self.html = markup.post(self.body)


def plain(text: str) -> str:
    """Return a text without control characters and halves of signs."""
    kept = (
        sign
        for sign in text.replace("\r\n", "\n").replace("\r", "\n")
        if sign in "\n\t" or unicodedata.category(sign) not in ("Cc", "Cs")
    )
    return "".join(kept)


def line(text: str, most: int) -> str:
    """Return a text as one line, at most `most` long."""
    return " ".join(plain(text).split())[:most].strip()


def slug(text: str) -> str:
    """Return what stands for a text in an address: letters of any script, digits and hyphens."""
    return re.sub(r"[\W_]+", "-", unicodedata.normalize("NFKC", text).casefold()).strip("-")[:80]


def save(connection: sqlite3.Connection, draft: Draft, number: int | None = None) -> int:
    """Write a post and return its number.

    Raises ValueError for one without a title, and when another one has its address already.
    """
    if not draft.title:
        raise ValueError("a post has a title")
    now = time.time()
    if number is None:
        made = connection.execute(
            "INSERT INTO posts (slug, title, body, html, published, created_at, updated_at)"
            " VALUES (?, '', '', '', 0, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
            (draft.slug, draft.at or now, now),
        ).fetchone()
        if made is None:
            raise ValueError(f"there is a post at {draft.slug} already")
        number = int(made["id"])
    try:
        connection.execute(
            "UPDATE posts SET slug = ?, title = ?, body = ?, html = ?, published = ?,"
            " updated_at = ?, published_at = coalesce(published_at, ?) WHERE id = ?",
            (
                *(draft.slug, draft.title, draft.body, draft.html, draft.published, now),
                *((draft.at or now) if draft.published else None, number),
            ),
        )
    except sqlite3.IntegrityError:
        raise ValueError(f"there is a post at {draft.slug} already") from None
    connection.execute("DELETE FROM tags WHERE post = ?", (number,))
    rows = [(number, tag) for tag in draft.tags]
    connection.executemany("INSERT INTO tags VALUES (?, ?)", rows)
    connection.execute("DELETE FROM search WHERE rowid = ?", (number,))
    words = " ".join(sorted(tokens(" ".join((draft.title, draft.body, *draft.tags)))))
    connection.execute("INSERT INTO search (rowid, tokens) VALUES (?, ?)", (number, words))
    return number


def remove(connection: sqlite3.Connection, number: int) -> bool:
    """Delete a post with all that belongs to it; say whether there was one."""
    connection.execute("DELETE FROM search WHERE rowid = ?", (number,))
    return connection.execute("DELETE FROM posts WHERE id = ?", (number,)).rowcount == 1


def listed(database: Database, page: int, tag: str = "") -> list[sqlite3.Row]:
    """Return a page of published posts, the newest first, and one more if there is a next page."""
    window = (PAGE + 1, (page - 1) * PAGE)
    if not tag:
        return database.rows(_LIST + _ORDER, *window)
    chosen = " AND p.id IN (SELECT post FROM tags WHERE tag = ?)"
    return database.rows(_LIST + chosen + _ORDER, tag, *window)


def found(database: Database, question: str, page: int) -> list[sqlite3.Row]:
    """Return a page of the published posts that have all words of a question, the best first."""
    words = sorted(tokens(question[:400]), key=len, reverse=True)[:_MOST_WORDS]
    if not words:
        return []
    # Tokens are letters and digits alone.
    query = " AND ".join(f'"{word}"' for word in words)
    return database.rows(
        "SELECT p.* FROM search s JOIN posts p ON p.id = s.rowid"
        " WHERE search MATCH ? AND p.published = 1 ORDER BY rank, p.id DESC LIMIT ? OFFSET ?",
        *(query, PAGE + 1, (page - 1) * PAGE),
    )


def tags_of(database: Database, *numbers: int) -> dict[int, list[str]]:
    """Return the tags of posts."""
    marks = ", ".join("?" * len(numbers))
    tagged: dict[int, list[str]] = {number: [] for number in numbers}
    for row in database.rows(
        f"SELECT post, tag FROM tags WHERE post IN ({marks}) ORDER BY tag",  # noqa: S608 - marks
        *numbers,
    ):
        tagged[row["post"]].append(row["tag"])
    return tagged
