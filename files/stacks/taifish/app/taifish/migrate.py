"""`python3 -m taifish.migrate`: bring the tables up to date and make the administrator.

Waits for the database, at most MIGRATE_TIMEOUT seconds (120). Runs under a lock of the database
server and each step in a transaction, so that neither two at once nor a kill leaves half of it.
Run again, it changes nothing. Tables that are newer than this code stay as they are: the status is
0 when they still serve it, else 1. With `--plan` it changes nothing and prints as JSON what it
would do; it waits MIGRATE_PLAN_TIMEOUT seconds (10).
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import psycopg

from moorage.application import passwords
from moorage.application.environment import ConfigurationError, read_secret
from taifish import db, schema
from taifish.config import Config
from taifish.names import account_name
from taifish.schema import Revision

# Any number that no other program of this database takes.
_LOCK = 0x7461_6966
_BOOKS = """
CREATE TABLE IF NOT EXISTS schema_revisions (
  revision text PRIMARY KEY, oldest_code text NOT NULL, at timestamptz NOT NULL DEFAULT now())
"""


class MigrationError(Exception):
    """The database could not be brought up to date; the message says why."""


def connect(config: Config, seconds: float) -> db.Connection:
    """Return a connection as soon as the server answers; raises MigrationError."""
    deadline = time.monotonic() + seconds
    # Large tables take their time, and so does waiting for another migration.
    options = "-c statement_timeout=0 -c lock_timeout=120s -c timezone=UTC"
    while True:
        try:
            return psycopg.Connection[db.Row].connect(
                **db.arguments(config), autocommit=True, options=options
            )
        except psycopg.OperationalError as error:
            refused = "authentication failed" in str(error) or "does not exist" in str(error)
            if refused or time.monotonic() >= deadline:
                raise MigrationError(f"the database does not let us in: {error}") from None
        time.sleep(0.25)


def applied(connection: db.Connection) -> list[db.Row]:
    """Return the revisions that the tables have, oldest first."""
    if not connection.execute("SELECT to_regclass('schema_revisions') AS t").fetchall()[0]["t"]:
        return []
    return connection.execute("SELECT * FROM schema_revisions ORDER BY revision").fetchall()


def plan(connection: db.Connection, chain: Sequence[Revision] = schema.REVISIONS) -> dict[str, Any]:
    """Return what would be done, as the document that a rollout reads; reads only."""
    there = applied(connection)
    known = [step.revision for step in chain]
    current = there[-1]["revision"] if there else ""
    if current and current not in known:
        return _newer(current, there[-1]["oldest_code"], known)
    at = known.index(current) + 1 if current else 0
    pending = [
        # Onto an empty database nothing is taken away from anybody.
        {"revision": s.revision, "kind": _kind(s, current), "message": s.message}
        for s in chain[at:]
    ]
    return {
        "from": current, "to": known[-1], "pending": pending, "compatible": True, "detail": "",
    }  # fmt: skip


def _kind(step: Revision, current: str) -> str:
    if not current:
        return schema.EXPAND
    # Harmless one release at a time; this update leaps over the release in between.
    return schema.ONE_WAY if step.oldest_code > current else step.kind


def _newer(current: str, serves: str, known: Sequence[str]) -> dict[str, Any]:
    compatible = serves in known
    what = (
        "and still serve its code: nothing is changed"
        if compatible
        else f"serve only code of {serves} or later: go forward to a release that knows it, or"
        " restore the dump that was made before the update (moorage-restore; docs/migrations.md)"
    )
    detail = f"the tables are of revision {current}, newer than this release's {known[-1]}, {what}"
    return {
        "from": current, "to": current, "pending": [], "compatible": compatible, "detail": detail,
    }  # fmt: skip


def upgrade(
    connection: db.Connection, chain: Sequence[Revision] = schema.REVISIONS
) -> dict[str, Any]:
    """Apply what is missing and return what that was; raises MigrationError."""
    connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    try:
        found = plan(connection, chain)
        if not found["compatible"]:
            raise MigrationError(found["detail"])
        missing = {step["revision"] for step in found["pending"]}
        for step in (s for s in chain if s.revision in missing):
            with connection.transaction():
                connection.execute(_BOOKS)
                connection.execute(step.sql.encode())
                connection.execute(
                    "INSERT INTO schema_revisions (revision, oldest_code) VALUES (%s, %s)",
                    [step.revision, step.oldest_code],
                )
        return found
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def ensure_admin(connection: db.Connection, name: str, password: str) -> bool:
    """Make the administrator or change the password; say whether there was something to do.

    Sessions end with the password that they were opened with.
    """
    account = account_name(name)
    if not account:
        raise MigrationError(f"ADMIN_USERNAME: {name!r} cannot be a name; take 1 to 32 letters")
    found = connection.execute(
        "SELECT password_hash, is_admin FROM users WHERE name = %s", [account]
    ).fetchone()
    if found and found["is_admin"] and passwords.verify(found["password_hash"], password):
        return False
    connection.execute(
        "INSERT INTO users (name, shown, password_hash, is_admin) VALUES (%s, %s, %s, true)"
        " ON CONFLICT (name) DO UPDATE"
        " SET password_hash = excluded.password_hash, is_admin = true",
        [account, name, passwords.hash_password(password)],
    )
    return True


def main(arguments: Sequence[str]) -> int:
    """Migrate or plan; return the exit status."""
    planning = list(arguments) == ["--plan"]
    if arguments and not planning:
        print("usage: python3 -m taifish.migrate [--plan]", file=sys.stderr)
        return 2
    variable, default = ("MIGRATE_PLAN_TIMEOUT", "10") if planning else ("MIGRATE_TIMEOUT", "120")
    try:
        config = Config.from_environment()
        with connect(config, float(os.environ.get(variable) or default)) as connection:
            if planning:
                print(json.dumps(plan(connection)))
                return 0
            done = upgrade(connection)
            name = os.environ.get("ADMIN_USERNAME", "") or "admin"
            changed = ensure_admin(connection, name, read_secret(os.environ, "ADMIN_PASSWORD"))
    except (MigrationError, ConfigurationError, psycopg.Error, ValueError) as error:
        print(f"cannot migrate: {error}", file=sys.stderr)
        return 1
    steps = len(done["pending"])
    print(
        f"tables at {done['to']} ({steps} steps applied),"
        f" administrator {name} {'set' if changed else 'unchanged'}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
