"""Migrations: from nothing, again, ahead of this code, and what a plan says beforehand."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from taifish import migrate
from taifish.config import Config
from taifish.migrate import MigrationError
from taifish.schema import CONTRACT, EXPAND, ONE_WAY, REVISIONS, Revision
from taifish_rig import ADMIN_PASSWORD, Process, Servers

from moorage.application import passwords

NEXT = Revision("9001", EXPAND, REVISIONS[-1].oldest_code, "Add.", "CREATE TABLE added (n int)")
AFTER = Revision("9002", CONTRACT, "9001", "Drop.", "DROP TABLE added")


@pytest.fixture
def empty(servers: Servers, migrated: Config) -> Iterator[Config]:
    """A database of its own, without tables."""
    with migrate.connect(migrated, 60) as connection:
        connection.execute("DROP SCHEMA IF EXISTS other CASCADE; CREATE SCHEMA other")
        connection.execute("ALTER ROLE taifish SET search_path = other")
    yield migrated
    with migrate.connect(migrated, 60) as connection:
        connection.execute("ALTER ROLE taifish RESET search_path; DROP SCHEMA other CASCADE")


def test_every_step_names_code_that_there_is() -> None:
    known = [step.revision for step in REVISIONS]
    assert known == sorted(set(known))
    for before, step in zip((None, *REVISIONS), REVISIONS, strict=False):
        assert step.kind in (EXPAND, CONTRACT, ONE_WAY) and step.message
        assert step.oldest_code in known and step.oldest_code <= step.revision
        if before and step.kind == EXPAND:
            assert step.oldest_code == before.oldest_code


def test_up_from_nothing_and_again(empty: Config) -> None:
    with migrate.connect(empty, 60) as connection:
        planned = migrate.plan(connection)
        assert planned["from"] == "" and planned["to"] == REVISIONS[-1].revision
        assert [s["kind"] for s in planned["pending"]] == [EXPAND] * len(REVISIONS)
        assert migrate.applied(connection) == [], "a plan changes nothing"
        assert migrate.upgrade(connection)["pending"]
        assert not migrate.upgrade(connection)["pending"]
        row = connection.execute("SELECT slug, name_zh, name_en FROM boards").fetchall()
        assert row == [{"slug": "lobby", "name_zh": "大厅", "name_en": "Lobby"}]


def test_a_step_that_fails_leaves_nothing_behind(empty: Config) -> None:
    broken = replace(NEXT, sql="CREATE TABLE half (n int); SELECT 1/0")
    with migrate.connect(empty, 60) as connection:
        migrate.upgrade(connection)
        with pytest.raises(Exception, match="division by zero"):
            migrate.upgrade(connection, (*REVISIONS, broken))
        assert migrate.applied(connection)[-1]["revision"] == REVISIONS[-1].revision
        found = connection.execute("SELECT to_regclass('half') AS t").fetchone()
        assert found == {"t": None}


def test_tables_that_are_newer_than_the_code(empty: Config) -> None:
    with migrate.connect(empty, 60) as connection:
        migrate.upgrade(connection, (*REVISIONS, NEXT))
        serves = migrate.upgrade(connection)
        assert serves["compatible"] and "still serve its code" in serves["detail"]
        assert migrate.upgrade(connection, (*REVISIONS, NEXT, AFTER))["pending"] == [
            {"revision": "9002", "kind": CONTRACT, "message": "Drop."}
        ]
        with pytest.raises(MigrationError, match="go forward to a release"):
            migrate.upgrade(connection)


def test_a_leap_over_a_release_is_one_way(empty: Config) -> None:
    with migrate.connect(empty, 60) as connection:
        migrate.upgrade(connection)
        planned = migrate.plan(connection, (*REVISIONS, NEXT, AFTER))
        assert [step["kind"] for step in planned["pending"]] == [EXPAND, ONE_WAY]


def test_the_administrator(empty: Config) -> None:
    with migrate.connect(empty, 60) as connection:
        migrate.upgrade(connection)
        assert migrate.ensure_admin(connection, "Admin", "one password")
        assert not migrate.ensure_admin(connection, "admin", "one password")
        assert migrate.ensure_admin(connection, "admin", "another one")
        (row,) = connection.execute("SELECT * FROM users").fetchall()
        assert passwords.verify(row["password_hash"], "another one") and row["is_admin"]
        with pytest.raises(MigrationError, match="cannot be a name"):
            migrate.ensure_admin(connection, "a b", "one password")


def test_the_command_line(environment: dict[str, str], tmp_path: Path) -> None:
    planned = Process(tmp_path, environment, "-m", "taifish.migrate", "--plan")
    assert planned.wait() == 0
    assert json.loads(planned.text())["pending"] == []
    done = Process(tmp_path, environment, "-m", "taifish.migrate")
    assert done.wait() == 0, done.text()
    assert "administrator admin unchanged" in done.text()
    refused = Process(
        tmp_path, {**environment, "DATABASE_NAME": "nosuch"}, "-m", "taifish.migrate", "--plan"
    )
    assert refused.wait() == 1
    assert "cannot migrate: the database does not let us in" in refused.text()
    assert ADMIN_PASSWORD not in refused.text()


def test_a_configuration_shows_no_password(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("s3cret\n")
    given = {f"{n}_PASSWORD_FILE": str(tmp_path / "p") for n in ("DATABASE", "REDIS")}
    found = Config.from_environment(given)
    assert found.redis_password == "s3cret" and "s3cret" not in repr(found)
