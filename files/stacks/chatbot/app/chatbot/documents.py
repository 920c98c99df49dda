"""Documents for the knowledge base: what is taken in, and into which articles it falls."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import PurePath

from chatbot.knowledge import LONGEST_BODY, LONGEST_TITLE
from chatbot.texts import text

MOST_BYTES = 1_000_000
_MOST_ARTICLES = 1000
KINDS = {".txt": "text", ".md": "markdown", ".markdown": "markdown", ".csv": "csv"}
_HEADING = re.compile(r"^#{1,2}\s+(.+?)\s*#*\s*$")


class Refused(Exception):
    """The document cannot be taken in; the message says why."""


def read(name: str, content: bytes) -> tuple[str, str]:
    """Return a document's kind and text; raises Refused.

    Kinds go by the name, and nothing but UTF-8 text is one: no archive, no format with a parser
    of its own, no address to fetch from.
    """
    kind = KINDS.get(PurePath(name).suffix.lower())
    if kind is None:
        raise Refused(f"a document is one of {', '.join(KINDS)}")
    if not content.strip() or len(content) > MOST_BYTES:
        raise Refused(f"a document has 1 to {MOST_BYTES} bytes")
    try:
        found = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"a document is text in UTF-8; byte {error.start} is not") from None
    if "\0" in found:
        raise Refused("a document is text, and this one holds NUL bytes")
    return kind, found


def articles(kind: str, name: str, content: str) -> list[tuple[str, str]]:
    """Return titles and bodies; raises Refused."""
    parts = {"csv": _csv, "markdown": _markdown, "text": _text}[kind](name, content)
    found = []
    for title, body in parts:
        kept = text(title, LONGEST_TITLE), text(body, LONGEST_BODY + 1, lines=True)
        if not all(kept):
            continue
        if len(kept[1]) > LONGEST_BODY:
            raise Refused(f"{kept[0]!r} is longer than {LONGEST_BODY} characters")
        found.append(kept)
        if len(found) > _MOST_ARTICLES:
            raise Refused(f"a document has at most {_MOST_ARTICLES} articles")
    if not found:
        raise Refused("there is no article with a title and a text in it")
    return found


def _text(name: str, content: str) -> Iterator[tuple[str, str]]:
    title, _, body = content.strip().partition("\n")
    yield (title, body) if body.strip() else (PurePath(name).stem, title)


def _markdown(name: str, content: str) -> Iterator[tuple[str, str]]:
    title, lines, fenced = PurePath(name).stem, list[str](), False
    for line in content.splitlines():
        fenced ^= line.startswith("```")
        heading = None if fenced else _HEADING.match(line)
        if heading:
            yield title, "\n".join(lines)
            title, lines = heading[1], []
        else:
            lines.append(line)
    yield title, "\n".join(lines)


def _csv(_name: str, content: str) -> Iterator[tuple[str, str]]:
    rows = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    try:
        if not {"title", "body"} <= set(rows.fieldnames or ()):
            raise Refused("a CSV file has the columns title and body")
        for row in rows:
            yield row["title"] or "", row["body"] or ""
    except csv.Error as error:
        raise Refused(f"line {rows.line_num}: {error}") from None
