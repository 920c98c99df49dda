"""Migrations: from nothing, again, ahead of this code, and what a plan says beforehand."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from chatbot import migrate
from chatbot.config import Config
from chatbot.db import Database
from chatbot.migrate import MigrationError
from chatbot.schema import CONTRACT, EXPAND, ONE_WAY, REVISIONS, Revision
from chatbot_rig import ADMIN_PASSWORD, Postgres, Process

from moorage.application import passwords

NEXT = Revision("9001", EXPAND, REVISIONS[-1].oldest_code, "Add.", "CREATE TABLE added (n int);")
AFTER = Revision("9002", CONTRACT, "9001", "Drop.", "DROP TABLE added;")


@pytest.fixture
def empty(config: Config) -> Database:
    """A database of its own, without tables."""
    return migrate.wait(config, 60)


def planned(database: Database, *more: Revision) -> list[str]:
    with database.transaction(write=False) as connection:
        return [s["kind"] for s in migrate.plan(connection, (*REVISIONS, *more))["pending"]]


def last(database: Database) -> str:
    with database.transaction(write=False) as connection:
        return str([{"revision": ""}, *migrate.applied(connection)][-1]["revision"])


def test_every_step_names_code_that_there_is() -> None:
    known = [step.revision for step in REVISIONS]
    assert known == sorted(set(known))
    for before, step in zip((None, *REVISIONS), REVISIONS, strict=False):
        assert step.kind in (EXPAND, CONTRACT, ONE_WAY) and step.message
        assert step.oldest_code in known and step.oldest_code <= step.revision
        if before and step.kind == EXPAND:
            assert step.oldest_code == before.oldest_code


def test_up_from_nothing_and_again(empty: Database) -> None:
    assert planned(empty) == [EXPAND] * len(REVISIONS)
    assert last(empty) == "", "a plan changes nothing"
    assert migrate.upgrade(empty)["pending"]
    assert not migrate.upgrade(empty)["pending"]
    assert last(empty) == REVISIONS[-1].revision


def test_two_at_once_do_it_once(config: Config, empty: Database) -> None:
    found: list[int] = []

    def up() -> None:
        database = migrate.wait(config, 60)
        found.append(len(migrate.upgrade(database)["pending"]))
        database.close()

    threads = [threading.Thread(target=up) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 0, len(REVISIONS)]


def test_a_step_that_fails_leaves_nothing_behind(empty: Database) -> None:
    broken = replace(NEXT, sql="CREATE TABLE half (n int); INSERT INTO half (nosuch) VALUES (1);")
    migrate.upgrade(empty)
    with pytest.raises(Exception, match="nosuch"):
        migrate.upgrade(empty, (*REVISIONS, broken))
    assert last(empty) == REVISIONS[-1].revision
    with pytest.raises(Exception, match="half"):
        empty.rows("SELECT * FROM half")


def test_tables_that_are_newer_than_the_code(empty: Database) -> None:
    migrate.upgrade(empty, (*REVISIONS, NEXT))
    serves = migrate.upgrade(empty)
    assert serves["compatible"] and "still serve its code" in serves["detail"]
    assert migrate.upgrade(empty, (*REVISIONS, NEXT, AFTER))["pending"] == [
        {"revision": "9002", "kind": CONTRACT, "message": "Drop."}
    ]
    with pytest.raises(MigrationError, match="go forward to a release"):
        migrate.upgrade(empty)


def test_a_leap_over_a_release_is_one_way(empty: Database) -> None:
    migrate.upgrade(empty)
    assert planned(empty, NEXT, AFTER) == [EXPAND, ONE_WAY]


def test_the_administrator(empty: Database) -> None:
    migrate.upgrade(empty)
    assert migrate.ensure_admin(empty, "Admin", "one password")
    assert not migrate.ensure_admin(empty, "admin", "one password")
    assert migrate.ensure_admin(empty, "admin", "another one")
    (row,) = empty.rows("SELECT * FROM admins")
    assert passwords.verify(row["password_hash"], "another one")
    with pytest.raises(MigrationError, match="cannot be a name"):
        migrate.ensure_admin(empty, "a b", "one password")


def test_the_command_line(
    environment: dict[str, str], database: Database, server: Postgres | None, tmp_path: Path
) -> None:
    plan = Process(tmp_path, environment, "-m", "chatbot.migrate", "--plan")
    assert plan.wait() == 0
    assert json.loads(plan.text())["pending"] == []
    done = Process(tmp_path, environment, "-m", "chatbot.migrate")
    assert done.wait() == 0, done.text()
    assert "administrator admin unchanged" in done.text()
    if server:
        other = {**environment, "DATABASE_NAME": "nosuch"}
        refused = Process(tmp_path, other, "-m", "chatbot.migrate", "--plan")
        assert refused.wait() == 1
        assert "cannot migrate: the database does not let us in" in refused.text()
        assert ADMIN_PASSWORD not in refused.text()


def test_a_configuration_shows_no_password(tmp_path: Path) -> None:
    assert Config.from_environment({}).database_host == ""
    (tmp_path / "p").write_text("s3cret\n")
    given = {"DATABASE_HOST": "db", "DATABASE_PASSWORD_FILE": str(tmp_path / "p")}
    found = Config.from_environment(given)
    assert found.database_password == "s3cret" and "s3cret" not in repr(found)
