"""What the pages read of the database."""

from __future__ import annotations

import sqlite3

from .build import DATABASE


def count() -> int:
    """Return the number of notes."""
    connection = sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True, timeout=5)
    try:
        row = connection.execute("SELECT COUNT(*) FROM notes").fetchone()
    finally:
        connection.close()
    return int(row[0])
