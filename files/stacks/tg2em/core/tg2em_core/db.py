"""Engine and sessions: short timeouts, so that a lost database is an error and not a hang."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from tg2em_core.environment import DatabaseConfig

SessionFactory = sessionmaker[Session]


def make_engine(
    config: DatabaseConfig, *, pool_size: int | None = None, statement_seconds: int = 30
) -> Engine:
    """Return an engine whose sessions run in UTC and whose connections are tested before use."""
    return create_engine(
        config.url,
        pool_size=pool_size or config.pool_size,
        max_overflow=5,
        pool_timeout=10,
        pool_recycle=1800,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        connect_args={
            "connect_timeout": 5,
            "read_timeout": statement_seconds,
            "write_timeout": 30,
            "init_command": "SET time_zone = '+00:00'",
        },
    )


def make_sessions(engine: Engine) -> SessionFactory:
    """Return the session factory; objects stay readable after a commit."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def transaction(sessions: SessionFactory) -> Iterator[Session]:
    """Give a session that commits at the end of the block and rolls back when it raises."""
    with sessions() as session, session.begin():
        yield session


def ping(engine: Engine) -> None:
    """Ask the database for a constant; raises SQLAlchemyError when it does not answer."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
