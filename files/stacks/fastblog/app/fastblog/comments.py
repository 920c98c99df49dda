"""Comments, and what keeps those of robots from being shown."""

import re
import sqlite3
import time
from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeTimedSerializer

from fastblog import markup
from fastblog.posts import line, plain

SHOWN, WAITING, SPAM = "shown", "waiting", "spam"
# Nobody reads a post and answers it faster; a page may stay open for a day.
_QUICKEST, _LONGEST = 3, 86_400
# The last two are links in <>: of any scheme, and mail.
_LINK = re.compile(r"https?://|www\.|\]\(|<[a-z][a-z0-9+.-]*:|<[^<>\s@]+@", re.IGNORECASE)
_MOST_KEPT = 20_000


@dataclass(frozen=True)
class Comment:
    """A comment as it was sent; `website` is a field that only robots see."""

    post: int
    name: str
    body: str
    website: str = ""
    stamp: str = ""


class Stamps:
    """When a form was given out, signed and for one post, so that none is made up."""

    def __init__(self, key: str) -> None:
        """Sign with this key."""
        self._serializer = URLSafeTimedSerializer(key, salt="fastblog comment")

    def make(self, post: int) -> str:
        """Return a stamp of now."""
        return str(self._serializer.dumps(post))

    def age(self, stamp: str, post: int) -> float | None:
        """Return its age in seconds; None for what is none of this post, or too old."""
        try:
            given, at = self._serializer.loads(stamp, max_age=_LONGEST, return_timestamp=True)
        except BadSignature:
            return None
        return time.time() - at.timestamp() if given == post else None


def judge(
    connection: sqlite3.Connection, given: Comment, age: float | None, blocked: str
) -> tuple[str, str]:
    """Return what becomes of a comment, and why: signs of a robot, or what a person looks at.

    `blocked` are words, one a line, of which a comment has none.
    """
    text = f"{given.name}\n{given.body}".casefold()
    if given.website:
        return SPAM, "filled in the hidden field"
    if age is None:
        return SPAM, "came without a form of this page"
    for word in blocked.casefold().splitlines():
        if word.strip() and word.strip() in text:
            return SPAM, f"has the blocked word {word.strip()[:40]}"
    links = len(_LINK.findall(text))
    if links > 3:
        return SPAM, f"has {links} links"
    known = connection.execute(
        "SELECT 1 FROM comments WHERE body = ? LIMIT 1", (given.body,)
    ).fetchone()
    if known:
        return SPAM, "was sent before"
    if age < _QUICKEST:
        return WAITING, "was sent within seconds"
    return (WAITING, "has a link") if links else (SHOWN, "")


def add(connection: sqlite3.Connection, given: Comment, age: float | None, blocked: str) -> str:
    """Judge and keep a comment; return what became of it. Raises ValueError for an empty one."""
    name, body = line(given.name, 60), plain(given.body).strip()[: markup.LONGEST_COMMENT]
    if not name or not body:
        raise ValueError("a comment has a name and a text")
    kept = Comment(given.post, name, body, given.website)
    state, reason = judge(connection, kept, age, blocked)
    connection.execute(
        "INSERT INTO comments (post, name, body, html, state, reason, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (kept.post, name, body, markup.comment(body), state, reason, time.time()),
    )
    # Robots must not fill the disk.
    connection.execute(
        "DELETE FROM comments WHERE state <> 'shown' AND id <="
        " (SELECT id FROM comments WHERE state <> 'shown' ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (_MOST_KEPT,),
    )
    return state
