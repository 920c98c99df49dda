"""`python3 -m chatbot.migrate`: bring the tables up to date and make the administrator.

Waits for the database, at most MIGRATE_TIMEOUT seconds (120). All steps are one transaction, under
a lock of the database, so that neither two at once nor a kill leaves half of it. Run again, it
changes nothing. Tables that are newer than this code stay as they are: the status is 0 when they
still serve it, else 1. With `--plan` it changes nothing and prints as JSON what it would do; it
waits MIGRATE_PLAN_TIMEOUT seconds (10).
"""

import json
import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import psycopg

from chatbot import db, schema
from chatbot.config import Config
from chatbot.db import Connection, Database
from chatbot.schema import Revision
from moorage.application import passwords
from moorage.application.environment import ConfigurationError, read_secret
from moorage.panel.devices import account_name

# Any number that no other program of this database takes.
_LOCK = 0x6368_6174
_BOOKS = """
CREATE TABLE IF NOT EXISTS schema_revisions (
  revision text PRIMARY KEY, oldest_code text NOT NULL, at double precision NOT NULL);
"""


class MigrationError(Exception):
    """The database could not be brought up to date; the message says why."""


def wait(config: Config, seconds: float) -> Database:
    """Return the database as soon as it answers; raises MigrationError."""
    if not config.database_host:
        config.database_file.parent.mkdir(parents=True, exist_ok=True)
        return Database(config)
    deadline = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(**db.arguments(config)).close()
            # Large tables take their time, and so does waiting for another migration.
            return Database(config, size=1, statement_seconds=0)
        except psycopg.OperationalError as error:
            refused = "authentication failed" in str(error) or "does not exist" in str(error)
            if refused or time.monotonic() >= deadline:
                raise MigrationError(f"the database does not let us in: {error}") from None
        time.sleep(0.25)


def applied(connection: Connection) -> list[db.Row]:
    """Return the revisions that the tables have, oldest first."""
    there = (
        "SELECT name FROM sqlite_master WHERE name = 'schema_revisions'"
        if connection.sqlite
        else "SELECT to_regclass('schema_revisions') AS name"
    )
    if connection.value(there) is None:
        return []
    return connection.rows("SELECT * FROM schema_revisions ORDER BY revision")


def plan(connection: Connection, chain: Sequence[Revision] = schema.REVISIONS) -> dict[str, Any]:
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


def upgrade(database: Database, chain: Sequence[Revision] = schema.REVISIONS) -> dict[str, Any]:
    """Apply what is missing and return what that was; raises MigrationError."""
    with database.transaction() as connection:
        if not connection.sqlite:
            connection.rows("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        found = plan(connection, chain)
        if not found["compatible"]:
            raise MigrationError(found["detail"])
        missing = {step["revision"] for step in found["pending"]}
        if missing:
            connection.script(_BOOKS)
        for step in (s for s in chain if s.revision in missing):
            connection.script(step.text(sqlite=connection.sqlite))
            connection.run(
                "INSERT INTO schema_revisions (revision, oldest_code, at) VALUES (%s, %s, %s)",
                [step.revision, step.oldest_code, time.time()],
            )
        return found


def ensure_admin(database: Database, name: str, password: str) -> bool:
    """Make the administrator or change the password; say whether there was something to do.

    Sessions end with the password that they were opened with.
    """
    account = account_name(name)
    if not account:
        raise MigrationError(f"ADMIN_USERNAME: {name!r} cannot be a name; take 1 to 64 letters")
    found = database.value("SELECT password_hash FROM admins WHERE name = %s", [account])
    if found and passwords.verify(found, password):
        return False
    database.run(
        "INSERT INTO admins (name, password_hash) VALUES (%s, %s)"
        " ON CONFLICT (name) DO UPDATE SET password_hash = excluded.password_hash",
        [account, passwords.hash_password(password)],
    )
    return True


def main(arguments: Sequence[str]) -> int:
    """Migrate or plan; return the exit status."""
    planning = list(arguments) == ["--plan"]
    if arguments and not planning:
        print("usage: python3 -m chatbot.migrate [--plan]", file=sys.stderr)
        return 2
    variable, default = ("MIGRATE_PLAN_TIMEOUT", "10") if planning else ("MIGRATE_TIMEOUT", "120")
    try:
        config = Config.from_environment()
        with closing(wait(config, float(os.environ.get(variable) or default))) as database:
            if planning:
                with database.transaction(write=False) as connection:
                    print(json.dumps(plan(connection)))
                return 0
            done = upgrade(database)
            name = os.environ.get("ADMIN_USERNAME", "") or "admin"
            changed = ensure_admin(database, name, read_secret(os.environ, "ADMIN_PASSWORD"))
    except (MigrationError, ConfigurationError, psycopg.Error, sqlite3.Error, ValueError) as error:
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
