"""PostgreSQL: a pool that comes back after a restart of the server, and statements as text."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from taifish.config import Config

Row = dict[str, Any]
Connection = psycopg.Connection[Row]
Parameters = Sequence[Any] | Mapping[str, Any]

# What an application sees while the server is away: pages answer 503, jobs are tried again.
# PoolTimeout is one of them.
Unavailable = (psycopg.OperationalError, psycopg.InterfaceError)


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
        "application_name": "taifish",
        "row_factory": dict_row,
    }


class Database:
    """Transactions on a pool. Connects when first used, so it may be made before a fork."""

    def __init__(self, config: Config, *, size: int = 0, statement_seconds: int = 30) -> None:
        """Keep at most `size` connections (default: the configuration's)."""
        options = f"-c statement_timeout={statement_seconds}s -c timezone=UTC"
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            connection_class=psycopg.Connection[Row],
            kwargs={**arguments(config), "options": options},
            # None is kept where none was needed: a worker's process may wait for hours.
            min_size=0,
            max_size=size or config.database_pool,
            timeout=5,
            max_idle=120,
            # One that the server has closed meanwhile is not handed out.
            check=ConnectionPool.check_connection,
            # Trying goes on; whoever waits gives up after `timeout`.
            reconnect_timeout=30,
            open=False,
        )

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Give a connection; commits at the end of the block, rolls back when it raises."""
        self._pool.open()
        with self._pool.connection() as connection:
            yield connection

    def rows(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        """Return what a query finds."""
        with self.transaction() as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

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
            return connection.execute(statement.encode(), parameters).rowcount

    def close(self) -> None:
        """End all connections."""
        self._pool.close()
