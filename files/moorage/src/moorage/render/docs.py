"""The tables of docs/compose.md, written from the tables that the code goes by: `make docs`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moorage.compose import specification
from moorage.compose.schema import FILE
from moorage.compose.shapes import UNKNOWN, Place
from moorage.compose.source import Sheet
from moorage.render import planned, topologies
from moorage.render.key_table import KEYS, Column, Entry

# A marked table of a document, by its name.
SECTION = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_SIGNS = {"honoured": "✓", "mapped": "→", "refused": "✗", "ignored": "○"}


def cell(entry: Entry) -> str:
    """One cell: a sign and how or why."""
    return f"{_SIGNS[entry.verdict]} {entry.how}".strip()


def table(columns: Mapping[str, Column]) -> str:
    """The rows of all keys for some columns, which go by their titles."""
    head = ["key", *columns]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for key in KEYS:
        cells = [cell(column[key]) for column in columns.values()]
        lines.append(f"| {' | '.join([f'`{key}`', *cells])} |")
    return "\n".join(lines) + "\n"


TABLES: dict[str, Mapping[str, Column]] = {
    **{topology.name: topology.columns for topology in topologies()},
    "planned": planned.COLUMNS,
}


def rewritten(document: str) -> str:
    """docs/compose.md with the content of its tables written anew."""
    tables = {name: table(columns) for name, columns in TABLES.items()}
    return filled(document, {**tables, "specification": specified()})


def specified() -> str:
    """The keys of the specification by their places: those that are read, and those refused."""
    places: dict[str, list[str]] = {}
    for path in specification.KEYS:
        places.setdefault(path.rpartition(".")[0], []).append(path)
    lines = ["| in | read | refused |", "| --- | --- | --- |"]
    for place, paths in sorted(places.items()):
        unread = {path for path in paths if is_unread(path)}
        title = place.replace("*", "NAME") or "the file"
        cells = (_listed(unread.symmetric_difference(paths)), _listed(unread))
        lines.append(f"| `{title}` | {' | '.join(cells)} |")
    return f"Revision {specification.REVISION}:\n\n" + "\n".join(lines) + "\n"


def is_unread(path: str) -> bool:
    """Whether a file with this key is refused for it, or for a key that it stands in."""
    sheet = Sheet(Path("compose.yml"))
    FILE(_document(path), Place(sheet, Path("/")))
    where = path.replace("*", "name").replace("[]", "[0]") + "."
    return any(p.message == UNKNOWN and where.startswith(f"{p.where}.") for p in sheet.problems)


def _document(path: str) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    inner = _document(rest) if rest else None
    name = head.removesuffix("[]").replace("*", "name")
    return {name: [inner] if head.endswith("[]") else inner}


def _listed(paths: set[str]) -> str:
    return ", ".join(f"`{path.rpartition('.')[2]}`" for path in sorted(paths)) or "–"


def filled(document: str, tables: Mapping[str, str]) -> str:
    """A document with the content of its marked tables written anew."""
    return SECTION.sub(lambda match: f"{match[1]}\n{tables[match[2]]}\n{match[3]}", document)
