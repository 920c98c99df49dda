"""Which revision a database's tables are of, and which code they say they still serve.

Alembic keeps the revision (`alembic_version`). Beside it `schema_state` keeps what that revision
declares as `oldest_code`: older code does not have the revision's file and cannot look it up.
"""

from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

TABLE = "schema_state"
_NO_SUCH_TABLE = 1146
_CREATE = """
CREATE TABLE IF NOT EXISTS schema_state (
    id TINYINT NOT NULL PRIMARY KEY,
    revision VARCHAR(32) NOT NULL,
    oldest_code VARCHAR(32) NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci
"""


def current(connection: Connection) -> str:
    """Return the revision of the tables; empty when there are none."""
    row = _first(connection, "SELECT version_num FROM alembic_version")
    return str(row[0]) if row else ""


def served(connection: Connection, revision: str) -> str | None:
    """Return the oldest code that the tables serve; None when nothing is said for `revision`."""
    row = _first(connection, "SELECT revision, oldest_code FROM schema_state WHERE id = 1")
    # Another revision's: somebody has moved the tables without writing it down.
    return str(row[1]) if row and row[0] == revision else None


def prepare(connection: Connection) -> None:
    """Make the table that `record` writes to; a database of the first releases has none."""
    connection.execute(text(_CREATE))


def record(connection: Connection, revision: str, oldest_code: str) -> None:
    """Note what the tables serve from now on, in the transaction that is open."""
    connection.execute(
        text("REPLACE INTO schema_state (id, revision, oldest_code) VALUES (1, :new, :code)"),
        {"new": revision, "code": oldest_code},
    )


def _first(connection: Connection, query: str) -> Any:
    try:
        return connection.execute(text(query)).first()
    except ProgrammingError as error:
        if getattr(error.orig, "args", (0,))[0] == _NO_SUCH_TABLE:
            return None
        raise
