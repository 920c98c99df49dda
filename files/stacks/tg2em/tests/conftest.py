"""What the tests of tg2em's parts share: a real database with the real tables in it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "frontend"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scraper"))
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "moorage" / "src"))

from database_server import database
from sqlalchemy import Engine, delete
from tg2em_core import migrate
from tg2em_core.db import SessionFactory, make_engine, make_sessions, transaction
from tg2em_core.environment import DatabaseConfig
from tg2em_core.models import Base

ADMIN = "admin"
ADMIN_PASSWORD = "a-password-for-tests-only-0123456789"


@pytest.fixture(scope="session")
def mariadb() -> Iterator[DatabaseConfig]:
    """A running database server and an account on it."""
    with database() as config:
        yield config


@pytest.fixture(scope="session")
def engine(mariadb: DatabaseConfig) -> Iterator[Engine]:
    """An engine on a migrated database with an administrator."""
    made = make_engine(mariadb)
    migrate.migrate(made, ADMIN, ADMIN_PASSWORD)
    yield made
    made.dispose()


@pytest.fixture
def empty(engine: Engine) -> SessionFactory:
    """Sessions on the database with nothing in its tables but the administrator."""
    sessions = make_sessions(engine)
    with transaction(sessions) as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(delete(table))
        migrate.ensure_admin(session, ADMIN, ADMIN_PASSWORD)
    return sessions
