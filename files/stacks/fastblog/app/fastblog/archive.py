"""All of the site in one ZIP file, and the way back: Markdown with a head, comments as JSON.

A post is `posts/SLUG.md`, with lines `title:`, `tags:`, `published:` and `date:` (ISO 8601)
between two lines `---`, as Jekyll and Hugo have them.
"""

import io
import json
import lzma
import sqlite3
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TypeVar

from fastblog import comments, markup, posts
from fastblog.db import Database
from moorage.common.readers import decode

MOST_UPLOADED = 10_000_000
# Of one file and of all together, unpacked: a small archive may hold endless ones.
_MOST_FILE, _MOST_TOTAL, _MOST_FILES = 1_000_000, 50_000_000, 5_000
_MOST_COMMENTS, _MOST_SECONDS = 50_000, 60
# What a page can show, in any time zone.
_EARLIEST, _LATEST = (datetime(year, 1, 2, tzinfo=UTC).timestamp() for year in (1, 9999))
# Whatever is in its place: zipfile passes on what its parts raise.
_NO_ZIP = (
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError),
    *(zlib.error, lzma.LZMAError),
)
_SAID = (
    "INSERT INTO comments (post, name, body, html, state, reason, created_at)"
    " SELECT id, ?, ?, ?, ?, '', ? FROM posts p WHERE slug = ? AND NOT EXISTS"
    " (SELECT 1 FROM comments c WHERE c.post = p.id AND c.name = ? AND c.body = ?)"
)
T = TypeVar("T")


class Refused(Exception):
    """The archive cannot be taken in; the message says why."""


def export(database: Database) -> bytes:
    """Return the ZIP file with all posts, drafts too, and all comments but spam."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        with database.transaction(write=False) as connection:
            tags: dict[int, list[str]] = {}
            for row in connection.execute("SELECT post, tag FROM tags ORDER BY tag"):
                tags.setdefault(row["post"], []).append(row["tag"])
            for row in connection.execute("SELECT * FROM posts ORDER BY id"):
                archive.writestr(f"posts/{row['slug']}.md", _text(row, tags.get(row["id"], [])))
            said = connection.execute(
                "SELECT p.slug AS post, c.name, c.body, c.state, c.created_at FROM comments c"
                " JOIN posts p ON p.id = c.post WHERE c.state <> 'spam' ORDER BY c.id"
            )
            found = [dict(row) for row in said]
        archive.writestr("comments.json", json.dumps(found, ensure_ascii=False, indent=1))
    return made.getvalue()


def _text(row: sqlite3.Row, tags: list[str]) -> str:
    published = "true" if row["published"] else "false"
    date = datetime.fromtimestamp(row["published_at"] or row["created_at"], UTC).isoformat()
    head = {"title": row["title"], "tags": ", ".join(tags), "published": published, "date": date}
    lines = "".join(f"{key}: {value}\n" for key, value in head.items())
    return f"---\n{lines}---\n\n{row['body']}"


def take_in(database: Database, name: str, content: bytes) -> tuple[int, int]:
    """Take in an archive or one Markdown file; return how many posts and comments came of it.

    A post replaces the one of the same address. It is all or nothing: raises Refused.
    """
    # Nobody else can write while the transaction lasts, so all that takes long comes before it.
    deadline = time.monotonic() + _MOST_SECONDS
    files = dict(_files(name, content))
    try:
        written = decode(files.pop("comments.json", b"[]"))
    except ValueError as error:
        raise Refused(f"comments.json: {error}") from None
    drafts = [(path, _draft(path, data)) for path, data in _in_time(files.items(), deadline)]
    said = [_comment(item) for item in _in_time(_list(written), deadline)]
    with database.transaction() as connection:
        for path, draft in drafts:
            present = connection.execute(
                "SELECT id FROM posts WHERE slug = ?", (draft.slug,)
            ).fetchone()
            try:
                posts.save(connection, draft, present["id"] if present else None)
            except ValueError as error:
                raise Refused(f"{path}: {error}") from None
        return len(drafts), sum(connection.execute(_SAID, found).rowcount for found in said)


def _in_time(found: Iterable[T], deadline: float) -> Iterator[T]:
    for item in found:
        if time.monotonic() > deadline:
            raise Refused(f"it takes longer than {_MOST_SECONDS} s; take it in in parts")
        yield item


def _list(written: object) -> list[object]:
    if not isinstance(written, list) or len(written) > _MOST_COMMENTS:
        raise Refused(f"comments.json: a list of at most {_MOST_COMMENTS} objects is wanted")
    return written


def _files(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    if len(content) > MOST_UPLOADED:
        raise Refused(f"it is larger than {MOST_UPLOADED} bytes")
    if name.lower().endswith((".md", ".markdown")):
        yield f"posts/{PurePosixPath(name).stem}.md", content
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [e for e in archive.infolist() if _is_ours(e.filename)]
            if len(archive.infolist()) > _MOST_FILES:
                raise Refused(f"it has more than {_MOST_FILES} files")
            left = _MOST_TOTAL
            for entry in entries:
                # What the entry says of its size may be a lie.
                with archive.open(entry) as opened:
                    most = _MOST_TOTAL if entry.filename == "comments.json" else _MOST_FILE
                    data = opened.read(min(most, left) + 1)
                if len(data) > min(most, left):
                    raise Refused(f"{entry.filename} unpacks to more than {min(most, left)} bytes")
                left -= len(data)
                yield entry.filename, data
    except _NO_ZIP as error:
        raise Refused(f"it is no ZIP file that can be read: {error}") from None


def _is_ours(name: str) -> bool:
    path = PurePosixPath(name)
    return name == "comments.json" or (path.parts[:1] == ("posts",) and path.suffix == ".md")


def _draft(path: str, data: bytes) -> posts.Draft:
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: not UTF-8: {error}") from None
    head: dict[str, str] = {}
    if text.startswith("---\n") and (end := text.find("\n---\n", 3)) >= 0:
        for line in text[4:end].splitlines():
            key, _, value = line.partition(":")
            head[key.strip().lower()] = value.strip().strip("\"'")
        text = text[end + 5 :]
    if len(text) > markup.LONGEST_POST + 1:
        raise Refused(f"{path}: longer than {markup.LONGEST_POST} signs")
    slug = PurePosixPath(path).stem
    return posts.Draft(
        title=head.get("title", "") or slug,
        body=text.removeprefix("\n"),
        slug=slug,
        tags=head.get("tags", "").strip("[]").replace('"', "").split(","),
        published=head.get("published", "true").lower() != "false"
        and head.get("draft", "").lower() != "true",
        at=_seconds(path, head.get("date", "")),
    )


def _seconds(path: str, date: str) -> float | None:
    try:
        found = datetime.fromisoformat(date) if date else None
        at = found.replace(tzinfo=found.tzinfo or UTC).timestamp() if found else None
        if at is not None and not _EARLIEST < at < _LATEST:
            raise ValueError
        return at
    except (ValueError, OverflowError):
        raise Refused(f"{path}: date {date[:40]!r} is not like 2026-11-29T10:00:00") from None


def _comment(item: object) -> tuple[object, ...]:
    if not isinstance(item, dict):
        raise Refused("comments.json: a list of objects is wanted")
    post, name, body = (str(item.get(key, "")) for key in ("post", "name", "body"))
    at, state = item.get("created_at"), item.get("state")
    name, body = posts.line(name, 60), posts.plain(body)[: markup.LONGEST_COMMENT]
    kept = state if state == comments.SHOWN else comments.WAITING
    moment = float(at) if isinstance(at, int | float) and _EARLIEST < at < _LATEST else 0.0
    return name, body, markup.comment(body), kept, moment, post, name, body
