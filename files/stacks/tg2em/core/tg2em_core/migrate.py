"""`python3 -m tg2em_core.migrate`: bring the tables up to date and make the administrator.

Waits for the database, at most MIGRATE_TIMEOUT seconds (120). Runs under a lock of the database
server, so that two that start together do not meet. Run again, it changes nothing. Tables that are
newer than this code stay as they are: the status is 0 when they still serve it, else 1.

With `--plan` it changes nothing at all and prints as JSON what it would do; it needs no secret of
the administrator and waits MIGRATE_PLAN_TIMEOUT seconds (10) for the database.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from tg2em_core import revisions, schema
from tg2em_core.db import make_engine, ping
from tg2em_core.environment import ConfigurationError, DatabaseConfig, read_secret
from tg2em_core.revisions import Plan, PolicyError, Revision, Step

LOCK = "tg2em.migrate"
LOCK_SECONDS = 120
# Changing a large table takes its time; so does waiting for another migration.
STATEMENT_SECONDS = 3600
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


def known() -> tuple[Revision, ...]:
    """Return the revisions that this code comes with, oldest first; raises PolicyError."""
    return revisions.load(scripts() / "versions")


def plan(connection: Connection, chain: Sequence[Revision]) -> Plan:
    """Return what `upgrade` would do; reads only."""
    current = schema.current(connection)
    return revisions.plan(chain, current, schema.served(connection, current))


def upgrade(connection: Connection) -> Plan:
    """Apply what is missing and return what that was.

    Raises MigrationError when a step fails, and when the tables are newer than this code and do
    not serve it any more.
    """
    chain = known()
    found = plan(connection, chain)
    if not found.compatible:
        raise MigrationError(found.detail)
    declared = {revision.revision: revision.oldest_code for revision in chain}
    if found.pending:
        _apply(connection, found.pending, declared)
    elif found.current in declared and schema.served(connection, found.current) is None:
        # A database from before the declarations were kept in it.
        schema.prepare(connection)
        schema.record(connection, found.current, declared[found.current])
    return found


def _apply(connection: Connection, steps: Sequence[Step], declared: Mapping[str, str]) -> None:
    # Only here: a release that changes no table starts sooner without Alembic.
    from alembic import command
    from alembic.config import Config

    done: list[str] = []

    def note(**applied: Any) -> None:
        revision = next(iter(applied["heads"]))
        schema.record(connection, revision, declared[revision])
        done.append(revision)

    schema.prepare(connection)
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["on_version_apply"] = note
    try:
        command.upgrade(config, "head")
    except SQLAlchemyError as error:
        failed = steps[len(done)]
        raise MigrationError(
            f"revision {failed.revision} ({failed.message}) failed: {_cause(error)}; a step of it"
            " that had succeeded is not taken back, as the server cannot do that"
        ) from error


def ensure_admin(session: Session, username: str, password: str) -> bool:
    """Make the administrator, or give them the password from the secret file; say if changed."""
    from moorage.application import passwords
    from tg2em_core.models import AdminUser

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


def migrate(engine: Engine, username: str, password: str) -> tuple[Plan, bool]:
    """Upgrade the tables and ensure the administrator.

    Returns what there was to do for the tables, and whether the administrator has changed.
    """
    with engine.connect() as connection, locked(connection):
        done = upgrade(connection)
        connection.commit()
        with Session(bind=connection) as session:
            changed = ensure_admin(session, username, password)
            session.commit()
    return done, changed


def main(environ: Mapping[str, str] | None = None, arguments: Sequence[str] = ()) -> int:
    """Run it with the settings of the environment; return the process's status."""
    env = os.environ if environ is None else environ
    if list(arguments) not in ([], ["--plan"]):
        print("usage: python3 -m tg2em_core.migrate [--plan]", file=sys.stderr)
        return 2
    try:
        return _show_plan(env) if arguments else _run(env)
    except (ConfigurationError, MigrationError, PolicyError) as error:
        print(f"migrate: {error}", file=sys.stderr)
    except SQLAlchemyError as error:
        print(f"migrate: the database: {_cause(error)}", file=sys.stderr)
    return 1


def _show_plan(env: Mapping[str, str]) -> int:
    engine = make_engine(DatabaseConfig.from_environment(env), pool_size=1)
    wait_for_database(engine, _seconds(env, "MIGRATE_PLAN_TIMEOUT", 10))
    with engine.connect() as connection:
        found = plan(connection, known())
    print(json.dumps(found.document(), ensure_ascii=False), flush=True)
    return 0


def _run(env: Mapping[str, str]) -> int:
    password = read_secret(env, "ADMIN_PASSWORD")
    if not password:
        raise ConfigurationError("ADMIN_PASSWORD_FILE is empty: no account without a password")
    config = DatabaseConfig.from_environment(env)
    engine = make_engine(config, pool_size=1, statement_seconds=STATEMENT_SECONDS)
    wait_for_database(engine, _seconds(env, "MIGRATE_TIMEOUT", 120))
    username = env.get("ADMIN_USERNAME", "admin")
    if not re.fullmatch(r"[!-~]{1,64}", username):
        raise ConfigurationError(
            f"ADMIN_USERNAME {username!r}: a name has 1 to 64 ASCII characters without spaces"
        )
    done, changed = migrate(engine, username, password)
    tables = "upgraded" if done.pending else "up to date"
    # In a log, what was not done and why is worth more than that nothing was.
    print(f"migrate: {done.detail or f'tables {tables}'},", end=" ")
    print(f"administrator {username} {'set' if changed else 'unchanged'}", flush=True)
    return 0


def _cause(error: SQLAlchemyError) -> str:
    # str(error) may hold a statement with its parameters.
    return str(getattr(error, "orig", None) or type(error).__name__)


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(env.get(name) or default)
    except ValueError as error:
        raise ConfigurationError(f"{name} must be seconds, not {env[name]!r}") from error


if __name__ == "__main__":
    sys.exit(main(arguments=sys.argv[1:]))
