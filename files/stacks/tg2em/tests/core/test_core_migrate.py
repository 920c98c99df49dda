"""Migrations: complete, repeatable, one at a time, and bounded in their patience."""

import dataclasses
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, select, text
from tg2em_core import migrate
from tg2em_core.db import SessionFactory, make_engine, transaction
from tg2em_core.environment import DatabaseConfig
from tg2em_core.migrate import MigrationError
from tg2em_core.models import AdminUser

from moorage.application import passwords

PASSWORD = "an admin password 0123456789"


@pytest.fixture
def blank(mariadb: DatabaseConfig, engine: Engine) -> Engine:
    """The database as the very first deploy finds it; the other tests' tables come back."""
    with engine.begin() as connection:
        names = connection.execute(text("SHOW TABLES")).scalars().all()
        connection.execute(text("SET foreign_key_checks = 0"))
        for name in names:
            connection.execute(text(f"DROP TABLE `{name}`"))
        connection.execute(text("SET foreign_key_checks = 1"))
    return engine


def _migrate(engine: Engine) -> tuple[bool, bool]:
    done, changed = migrate.migrate(engine, "admin", PASSWORD)
    return bool(done.pending), changed


def test_the_second_run_changes_nothing(blank: Engine) -> None:
    assert _migrate(blank) == (True, True)
    assert _migrate(blank) == (False, False)


def test_the_tables_are_what_the_models_say(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.scripts()))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        # Raises when autogenerate would find a difference.
        command.check(config)


def test_every_table_is_utf8mb4(engine: Engine, mariadb: DatabaseConfig) -> None:
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT table_name, table_collation FROM information_schema.tables"
                 " WHERE table_schema = :name"),
            {"name": mariadb.name},
        ).all()  # fmt: skip
    assert len(rows) == 13
    assert {name: c for name, c in rows if not c.startswith("utf8mb4")} == {}


def test_there_and_back(blank: Engine) -> None:
    migrate.migrate(blank, "admin", PASSWORD)
    config = Config()
    config.set_main_option("script_location", str(migrate.scripts()))
    with blank.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert connection.execute(text("SHOW TABLES")).scalars().all() == [
            "alembic_version",
            "schema_state",
        ]
    assert _migrate(blank) == (True, True)


def test_two_at_once_do_the_work_once(blank: Engine) -> None:
    results: list[tuple[bool, bool]] = []
    threads = [threading.Thread(target=lambda: results.append(_migrate(blank))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == [(False, False), (False, False), (True, True)]


def test_a_new_password_ends_the_old_sessions(empty: SessionFactory) -> None:
    with transaction(empty) as session:
        migrate.ensure_admin(session, "admin", PASSWORD)
    with transaction(empty) as session:
        user = session.scalars(select(AdminUser).where(AdminUser.username == "admin")).one()
        epoch = user.session_epoch
        assert migrate.ensure_admin(session, "admin", "another password 0123456789")
        assert user.session_epoch == epoch + 1
        assert passwords.verify(user.password_hash, "another password 0123456789")
        assert not passwords.verify(user.password_hash, PASSWORD)
        assert user.password_hash.startswith("$argon2id$")


def test_a_wrong_password_is_not_waited_for(mariadb: DatabaseConfig) -> None:
    engine = make_engine(dataclasses.replace(mariadb, password="wrong"))
    waited: list[float] = []
    with pytest.raises(MigrationError, match="Access denied"):
        migrate.wait_for_database(engine, 60, sleep=waited.append)
    assert waited == []


def test_patience_ends(mariadb: DatabaseConfig) -> None:
    engine = make_engine(dataclasses.replace(mariadb, host="127.0.0.1", port=1))
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    with pytest.raises(MigrationError, match="does not let us in"):
        migrate.wait_for_database(engine, 5, clock=lambda: now, sleep=sleep)
    assert now >= 5


def test_as_a_command(engine: Engine, mariadb: DatabaseConfig, tmp_path: Path) -> None:
    secret = tmp_path / "admin_password"
    secret.write_text(PASSWORD + "\n")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DATABASE_HOST": mariadb.host,
        "DATABASE_PORT": str(mariadb.port),
        "DATABASE_NAME": mariadb.name,
        "DATABASE_USER": mariadb.user,
        "DATABASE_PASSWORD": mariadb.password,
        "ADMIN_USERNAME": "ada",
        "ADMIN_PASSWORD_FILE": str(secret),
    }
    ran = [
        subprocess.run(
            [sys.executable, "-m", "tg2em_core.migrate"],
            env=environment, capture_output=True, text=True, timeout=60, check=True,
        ).stdout
        for _ in range(2)
    ]  # fmt: skip
    assert ran[0] == "migrate: tables up to date, administrator ada set\n"
    assert ran[1] == "migrate: tables up to date, administrator ada unchanged\n"
    assert PASSWORD not in "".join(ran)


def test_without_an_admin_password_there_is_no_account(capsys: pytest.CaptureFixture[str]) -> None:
    assert migrate.main({"ADMIN_PASSWORD": "", "DATABASE_PASSWORD": "x"}) == 1
    assert "ADMIN_PASSWORD_FILE" in capsys.readouterr().err
