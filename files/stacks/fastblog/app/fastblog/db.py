"""SQLite: one file, a transaction for each use. Times are seconds since 1970, truth is 0 or 1."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

# Older code has to work with newer tables, since an update may be taken back: a step adds, and
# takes nothing away.
_STEPS = (
    """
    CREATE TABLE posts (
      id INTEGER PRIMARY KEY, slug TEXT NOT NULL UNIQUE, title TEXT NOT NULL, body TEXT NOT NULL,
      html TEXT NOT NULL, published INTEGER NOT NULL, created_at REAL NOT NULL,
      updated_at REAL NOT NULL, published_at REAL);
    CREATE INDEX posts_shown ON posts (published, published_at DESC);
    CREATE TABLE tags (
      post INTEGER NOT NULL REFERENCES posts ON DELETE CASCADE, tag TEXT NOT NULL,
      PRIMARY KEY (post, tag)) WITHOUT ROWID;
    CREATE INDEX tags_tag ON tags (tag);
    CREATE TABLE comments (
      id INTEGER PRIMARY KEY, post INTEGER NOT NULL REFERENCES posts ON DELETE CASCADE,
      name TEXT NOT NULL, body TEXT NOT NULL, html TEXT NOT NULL, state TEXT NOT NULL,
      reason TEXT NOT NULL, created_at REAL NOT NULL);
    CREATE INDEX comments_post ON comments (post, state, id);
    CREATE INDEX comments_state ON comments (state, id);
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE VIRTUAL TABLE search USING fts5 (tokens, tokenize = 'unicode61');
    """,
)
_BUSY_SECONDS = 20
Unavailable = (sqlite3.OperationalError,)


class Database:
    """Transactions on one file; safe to share between threads."""

    def __init__(self, path: Path) -> None:
        """Bring the tables up to date; raises sqlite3.Error and OSError."""
        self.path = path
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with self.transaction() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            for number, step in enumerate(_STEPS[version:], version + 1):
                # Not executescript: that commits first.
                for statement in filter(str.strip, step.split(";\n")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[sqlite3.Connection]:
        """Give a connection; commits at the end of the block, rolls back when it raises."""
        with closing(
            sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
        ) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA journal_mode = WAL")
            # Who means to write waits for its turn here; later SQLite would refuse at once.
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def rows(self, statement: str, *parameters: object) -> list[sqlite3.Row]:
        """Return what a query finds."""
        with self.transaction(write=False) as connection:
            return connection.execute(statement, parameters).fetchall()

    def row(self, statement: str, *parameters: object) -> sqlite3.Row | None:
        """Return the first row, or None."""
        return next(iter(self.rows(statement, *parameters)), None)

    def run(self, statement: str, *parameters: object) -> int:
        """Carry a statement out and return how many rows it changed."""
        with self.transaction() as connection:
            return connection.execute(statement, parameters).rowcount
