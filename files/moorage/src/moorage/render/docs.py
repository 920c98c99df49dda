"""The tables of docs/compose.md, written from the tables that the code goes by.

`python -m moorage.render.docs docs/compose.md` writes them into the document anew.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from moorage.render.support import TABLE, Entry, Row

_SECTION = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
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
    """A document with the content of its marked tables written anew."""

    def fill(match: re.Match[str]) -> str:
        return f"{match[1]}\n{table(TABLES[match[2]])}\n{match[3]}"

    return _SECTION.sub(fill, document)


def main(arguments: list[str]) -> int:
    """Rewrite the documents named on the command line."""
    for name in arguments:
        path = Path(name)
        path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
