"""The tables of docs/compose.md, written from the tables that the code goes by: `make docs`."""

from __future__ import annotations

import re
from collections.abc import Mapping

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
    return filled(document, {name: table(columns) for name, columns in TABLES.items()})


def filled(document: str, tables: Mapping[str, str]) -> str:
    """A document with the content of its marked tables written anew."""
    return SECTION.sub(lambda match: f"{match[1]}\n{tables[match[2]]}\n{match[3]}", document)
