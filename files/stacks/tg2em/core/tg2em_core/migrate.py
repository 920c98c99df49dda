"""`python3 -m tg2em_core.migrate`: bring the tables up to date and make the administrator.

Waits for the database, at most MIGRATE_TIMEOUT seconds (120). Runs under a lock of the database
server, so that two that start together do not meet. Run again, it changes nothing.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from tg2em_core import passwords
from tg2em_core.db import make_engine, ping
from tg2em_core.environment import ConfigurationError, DatabaseConfig, read_secret
from tg2em_core.models import AdminUser

LOCK = "tg2em.migrate"
LOCK_SECONDS = 120
# Wrong name or password, no such database: waiting would not mend these.
_HOPELESS = frozenset({1044, 1045, 1049, 1698})


class MigrationError(Exception):
    """The database could not be brought up to date; the message says why."""


def wait_for_database(
    engine: Engine,
    timeout: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return as soon as the database answers; raises MigrationError when it does not in time."""
    deadline = clock() + timeout
    while True:
        try:
            ping(engine)
            return
        except OperationalError as error:
            code = getattr(error.orig, "args", (0,))[0]
            if code in _HOPELESS or clock() >= deadline:
                raise MigrationError(f"the database does not let us in: {error.orig}") from error
        sleep(0.25)


@contextmanager
def locked(connection: Connection) -> Iterator[None]:
    """Hold the server-wide lock of the migrations; raises MigrationError after LOCK_SECONDS."""
    arguments = {"name": LOCK, "seconds": LOCK_SECONDS}
    if connection.scalar(text("SELECT GET_LOCK(:name, :seconds)"), arguments) != 1:
        raise MigrationError(f"another migration has held its lock for {LOCK_SECONDS} s")
    try:
        yield
    finally:
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": LOCK})


def scripts() -> Path:
    """Return the directory of the migrations: beside this package in an image, else above it."""
    package = Path(__file__).resolve().parent
    for above in (package.parent, package.parent.parent):
        if (above / "migrations" / "env.py").is_file():
            return above / "migrations"
    raise MigrationError(f"no migrations directory near {package}")


def upgrade(connection: Connection) -> bool:
    """Apply what is missing; say whether anything was."""
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    head = ScriptDirectory.from_config(config).get_current_head()
    if MigrationContext.configure(connection).get_current_revision() == head:
        return False
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return True


def ensure_admin(session: Session, username: str, password: str) -> bool:
    """Make the administrator, or give them the password from the secret file; say if changed."""
    user = session.scalars(select(AdminUser).where(AdminUser.username == username)).one_or_none()
    if user is None:
        hashed = passwords.hash_password(password)
        session.add(AdminUser(username=username, password_hash=hashed, session_epoch=0))
        return True
    if passwords.verify(user.password_hash, password) and not passwords.outdated(
        user.password_hash
    ):
        return False
    user.password_hash = passwords.hash_password(password)
    user.session_epoch += 1
    return True


def migrate(engine: Engine, username: str, password: str) -> tuple[bool, bool]:
    """Upgrade the tables and ensure the administrator; return what of the two changed."""
    with engine.connect() as connection, locked(connection):
        upgraded = upgrade(connection)
        connection.commit()
        with Session(bind=connection) as session:
            changed = ensure_admin(session, username, password)
            session.commit()
    return upgraded, changed


def main(environ: Mapping[str, str] | None = None) -> int:
    """Run it with the settings of the environment; return the process's status."""
    env = os.environ if environ is None else environ
    try:
        password = read_secret(env, "ADMIN_PASSWORD")
        if not password:
            raise ConfigurationError("ADMIN_PASSWORD_FILE is empty: no account without a password")
        engine = make_engine(DatabaseConfig.from_environment(env), pool_size=1)
        wait_for_database(engine, float(env.get("MIGRATE_TIMEOUT", "120")))
        username = env.get("ADMIN_USERNAME", "admin")
        upgraded, changed = migrate(engine, username, password)
    except (ConfigurationError, MigrationError) as error:
        print(f"migrate: {error}", file=sys.stderr)
        return 1
    print(f"migrate: tables {'upgraded' if upgraded else 'up to date'},", end=" ")
    print(f"administrator {username} {'set' if changed else 'unchanged'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
