"""Migrations of a small database: `python3 -m harbour.migrate [--plan]`.

Revision 1 makes the table; 2 only adds to it (expand), so that code of 1 goes on working; 3
destroys what older code may ask for (one-way). The database keeps which revision it has and which
is the oldest code that it still serves.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from dataclasses import dataclass

from .build import DATABASE, MIGRATE_FAULT, SCHEMA


@dataclass(frozen=True)
class Revision:
    """A step: its kind, the oldest code that the schema serves after it, and what it does."""

    number: int
    kind: str
    oldest_code: int
    message: str
    sql: tuple[str, ...]


REVISIONS = (
    Revision(1, "expand", 1, "Make the table", ("CREATE TABLE notes (at REAL, text TEXT)",)),
    Revision(2, "expand", 1, "Give notes an author", ("ALTER TABLE notes ADD COLUMN author TEXT",)),
    Revision(3, "one-way", 3, "Forget what notes said", ("UPDATE notes SET text = NULL",)),
)


def connect() -> sqlite3.Connection:
    """Open the database; make the table of revisions where it is missing."""
    connection = sqlite3.connect(DATABASE, timeout=10, isolation_level=None)
    connection.execute("CREATE TABLE IF NOT EXISTS revision (number INT, oldest_code INT)")
    return connection


def state(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the database's revision and the oldest code that it serves; (0, 0) when empty."""
    row = connection.execute("SELECT number, oldest_code FROM revision").fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def pending(at: int) -> list[Revision]:
    """Return what this code would do to a database of revision ``at``."""
    return [revision for revision in REVISIONS if at < revision.number <= SCHEMA]


def plan() -> dict[str, object]:
    """Return what would be done, and whether this code can work with what is there."""
    if DATABASE.exists():
        # Changes nothing, as a plan must not.
        connection = sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True, timeout=10)
        at, oldest = state(connection)
    else:
        at, oldest = 0, 0
    steps = pending(at)
    compatible = oldest <= SCHEMA
    return {
        "from": f"{at:04}" if at else "",
        "to": f"{max(at, SCHEMA):04}",
        "pending": [
            {"revision": f"{s.number:04}", "kind": s.kind, "message": s.message} for s in steps
        ],
        "compatible": compatible,
        "detail": "" if compatible else why_not(at, oldest),
    }


def why_not(at: int, oldest: int) -> str:
    """Return why this code cannot work with the database."""
    return (
        f"the database is at revision {at:04} and serves code from {oldest:04} on; this code knows "
        f"{SCHEMA:04}: restore the copy made before {oldest:04}, or go forward"
    )


def migrate() -> str:
    """Bring the database to what this code knows; return what was done."""
    connection = connect()
    at, oldest = state(connection)
    if oldest > SCHEMA:
        sys.exit(f"harbour: {why_not(at, oldest)}")
    steps = pending(at)
    if not steps:
        return f"nothing to do at {at:04}"
    connection.execute("BEGIN IMMEDIATE")
    for step in steps:
        for statement in step.sql:
            connection.execute(statement)
        if MIGRATE_FAULT == "fail":
            connection.execute("ALTER TABLE no_such_table ADD COLUMN oops TEXT")
        connection.execute("DELETE FROM revision")
        connection.execute("INSERT INTO revision VALUES (?, ?)", (step.number, step.oldest_code))
    connection.execute("COMMIT")
    return f"from {at:04} to {steps[-1].number:04}"


def main(arguments: list[str]) -> int:
    """Plan or migrate; say on standard error what went wrong."""
    try:
        print(json.dumps(plan()) if arguments == ["--plan"] else f"harbour: {migrate()}")
    except sqlite3.Error as trouble:
        # Nothing was changed: the transaction ends with the connection.
        print(f"harbour: migration failed: {trouble}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
