"""PostgreSQL, or SQLite where no server is named: the same statements, `%s` for a value.

Times are seconds since 1970, truth is 0 or 1 and JSON is text, so that both mean the same by them.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from chatbot.config import Config

Row = dict[str, Any]
Parameters = Sequence[Any]

# What an application sees while the database is away: pages answer 503, jobs are tried again.
# psycopg's PoolTimeout is one of them, and so is SQLite's lock that nobody lets go of.
Unavailable = (psycopg.OperationalError, psycopg.InterfaceError, sqlite3.OperationalError)
# Of PostgreSQL; SQLite calls it an OperationalError.
NotMigrated = (psycopg.errors.UndefinedTable,)
_BUSY_SECONDS = 20


class Connection:
    """A transaction of one of the two."""

    def __init__(
        self, server: psycopg.Connection[Row] | None, file: sqlite3.Connection | None
    ) -> None:
        """Give one of them."""
        self._server, self._file = server, file

    @property
    def sqlite(self) -> bool:
        """Say whether it is SQLite's."""
        return self._file is not None

    def rows(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        """Return what a statement finds, or returns of what it changes."""
        if self._file is not None:
            cursor = self._file.execute(statement.replace("%s", "?"), parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        assert self._server is not None
        return self._server.execute(statement.encode(), parameters).fetchall()

    def row(self, statement: str, parameters: Parameters = ()) -> Row | None:
        """Return the first row, or None."""
        return next(iter(self.rows(statement, parameters)), None)

    def value(self, statement: str, parameters: Parameters = ()) -> Any:
        """Return the first column of the first row, or None."""
        found = self.row(statement, parameters)
        return next(iter(found.values())) if found else None

    def run(self, statement: str, parameters: Parameters = ()) -> int:
        """Carry a statement out and return how many rows it changed."""
        if self._file is not None:
            return self._file.execute(statement.replace("%s", "?"), parameters).rowcount
        assert self._server is not None
        return self._server.execute(statement.encode(), parameters or None).rowcount

    def script(self, text: str) -> None:
        """Carry several statements out within the transaction; each ends with `;`."""
        if self._file is None:
            self.run(text)
            return
        # sqlite3's own executescript commits first.
        pending = ""
        for part in text.split(";")[:-1]:
            pending += f"{part};"
            if sqlite3.complete_statement(pending):
                self._file.execute(pending)
                pending = ""


class Database:
    """Transactions. Connects when first used, so it may be made before a fork."""

    def __init__(self, config: Config, *, size: int = 0, statement_seconds: int = 30) -> None:
        """Keep at most `size` connections (default: the configuration's)."""
        self._file = None if config.database_host else config.database_file
        options = f"-c statement_timeout={statement_seconds}s -c timezone=UTC"
        self._pool: ConnectionPool[psycopg.Connection[Row]] = ConnectionPool(
            connection_class=psycopg.Connection[Row],
            kwargs={**arguments(config), "options": options},
            min_size=0,
            max_size=size or config.database_pool,
            timeout=5,
            max_idle=120,
            # One that the server has closed meanwhile is not handed out.
            check=ConnectionPool.check_connection,
            reconnect_timeout=30,
            open=False,
        )

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[Connection]:
        """Give a connection; commits at the end of the block, rolls back when it raises."""
        if self._file is not None:
            with closing(self._open()) as file:
                # Who means to write waits for its turn here; later SQLite would refuse at once.
                file.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    yield Connection(None, file)
                except BaseException:
                    file.execute("ROLLBACK")
                    raise
                file.execute("COMMIT")
            return
        self._pool.open()
        with self._pool.connection() as server:
            yield Connection(server, None)

    def _open(self) -> sqlite3.Connection:
        assert self._file is not None
        file = sqlite3.connect(self._file, timeout=_BUSY_SECONDS, isolation_level=None)
        file.execute("PRAGMA foreign_keys = ON")
        # Erased is erased: what was deleted is overwritten.
        file.execute("PRAGMA secure_delete = ON")
        file.execute("PRAGMA journal_mode = WAL")
        return file

    def rows(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        """Return what a query finds."""
        with self.transaction(write=False) as connection:
            return connection.rows(statement, parameters)

    def row(self, statement: str, parameters: Parameters = ()) -> Row | None:
        """Return the first row, or None."""
        return next(iter(self.rows(statement, parameters)), None)

    def value(self, statement: str, parameters: Parameters = ()) -> Any:
        """Return the first column of the first row, or None."""
        found = self.row(statement, parameters)
        return next(iter(found.values())) if found else None

    def run(self, statement: str, parameters: Parameters = ()) -> int:
        """Carry a statement out and return how many rows it changed."""
        with self.transaction() as connection:
            return connection.run(statement, parameters)

    def close(self) -> None:
        """End all connections."""
        self._pool.close()


def arguments(config: Config) -> dict[str, Any]:
    """Return what a connection takes. A lost server is an error within seconds, not a hang."""
    return {
        "host": config.database_host,
        "port": config.database_port,
        "dbname": config.database_name,
        "user": config.database_user,
        "password": config.database_password,
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        "application_name": "chatbot",
        "row_factory": dict_row,
    }
