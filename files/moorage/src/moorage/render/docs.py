"""The tables of docs/compose.md, written from the tables that the code goes by: `make docs`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from moorage.render.key_table import TABLE, Entry, Row

# A marked table of a document, by its name.
SECTION = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_SIGNS = {"honoured": "✓", "mapped": "→", "refused": "✗", "ignored": "○"}


def cell(entry: Entry) -> str:
    """One cell: a sign and how or why."""
    return f"{_SIGNS[entry.verdict]} {entry.how}".strip()


def table(columns: dict[str, str]) -> str:
    """The rows of all keys for some columns of the table; `columns` are their titles."""
    head = ["key", *columns.values()]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for key, row in TABLE.items():
        lines.append(f"| {' | '.join([f'`{key}`', *_cells(row, columns)])} |")
    return "\n".join(lines) + "\n"


def _cells(row: Row, columns: dict[str, str]) -> list[str]:
    return [cell(row.entry(column)) for column in columns]


TABLES = {
    "unified": {"process": "own service (process)", "container": "data service (container)"},
    "containers": {"containers": "service"},
    "planned": {
        "host": "host (planned)",
        "swarm": "swarm (planned)",
    },
}


def rewritten(document: str) -> str:
    """docs/compose.md with the content of its tables written anew."""
    return filled(document, {name: table(columns) for name, columns in TABLES.items()})


def filled(document: str, tables: Mapping[str, str]) -> str:
    """A document with the content of its marked tables written anew."""
    return SECTION.sub(lambda match: f"{match[1]}\n{tables[match[2]]}\n{match[3]}", document)
