"""The MariaDB image's contract, on a real engine: init, secrets, kills, restarts, upgrades."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from data_server import Container, after, build_image, docker, wait_until, write_secrets

ROOT_PASSWORD = "r0ot-'\\\"-Geheim"
PASSWORD = "app-'pw'-$(x)-Geheim"


class Server(Container):  # type: ignore[misc]
    user = "10002:10002"
    data = "/var/lib/mysql"
    run = "/run/mysqld"
    healthy = ("healthcheck.sh", "--connect", "--innodb_initialized")

    def start_usual(self, *options: str, command: tuple[str, ...] = ()) -> None:
        """Start with what tg2em's Compose file sets."""
        self.start(
            *("--env", "MARIADB_ROOT_PASSWORD_FILE=/run/secrets/root"),
            *("--env", "MARIADB_PASSWORD_FILE=/run/secrets/app"),
            *("--env", "MARIADB_DATABASE=my_app", "--env", "MARIADB_USER=app"),
            *options,
            command=command,
        )

    def sql(self, statement: str) -> str:
        return str(self.exec("mariadb", "--user=mysql", "-BN", stdin=statement).stdout).strip()

    def connect(self, user: str, password: str, *options: str) -> str:
        """Return who the server takes us for, or its refusal."""
        script = 'read -r MYSQL_PWD; export MYSQL_PWD; exec mariadb "$@" -BNe "SELECT USER()"'
        argv = ("bash", "-c", script, "-", f"--user={user}", *options)
        done = self.exec(*argv, check=False, stdin=f"{password}\n")
        return str(done.stdout).strip() or str(done.stderr).strip()


@pytest.fixture(scope="module")
def image() -> str:
    return str(build_image("mariadb"))


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = {"root": ROOT_PASSWORD, "app": PASSWORD, "empty": ""}
    return Path(write_secrets(tmp_path_factory.mktemp("secrets"), values))


@pytest.fixture
def server(image: str, secrets: Path) -> Iterator[Server]:
    made = Server(image, secrets)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scripts of every kind for the first start."""
    scripts = tmp_path_factory.mktemp("initdb")
    scripts.chmod(0o755)
    (scripts / "1.sql").write_text(
        "CREATE TABLE t (n INT, s TEXT); INSERT INTO t VALUES (1, '喵🐈');"
    )
    packed = subprocess.run(
        ["gzip", "-c"], input=b"INSERT INTO t VALUES (2, '');", capture_output=True, check=True
    )
    (scripts / "2.sql.gz").write_bytes(packed.stdout)
    (scripts / "3.sh").write_text(
        "docker_process_sql my_app <<< \"INSERT INTO t VALUES (3, '')\"\n"
    )
    (scripts / "4.sh").write_text(
        "#!/bin/bash\nmariadb --user=mysql my_app <<< \"INSERT INTO t VALUES (4, '')\"\n"
    )
    (scripts / "4.sh").chmod(0o755)
    return scripts


@pytest.fixture(scope="module")
def running(image: str, secrets: Path, scripts: Path) -> Iterator[Server]:
    """One hardened server, for everything that only looks."""
    made = Server(image, secrets)
    made.start_usual("--volume", f"{scripts}:/docker-entrypoint-initdb.d:ro")
    made.wait_healthy()
    yield made
    made.remove()


def test_it_runs_as_its_own_user_without_capabilities(running: Server) -> None:
    status = running.exec("cat", "/proc/1/status").stdout
    assert "Name:\tmariadbd" in status
    assert "Uid:\t10002\t10002" in status
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_accounts_come_in_as_they_should_and_not_otherwise(running: Server) -> None:
    tcp = ("--host", running.address())
    assert running.connect("app", PASSWORD, *tcp, "my_app").startswith("app@")
    assert "ERROR 1045" in running.connect("app", "wrong", *tcp)
    assert running.connect("root", ROOT_PASSWORD) == "root@localhost"
    assert "ERROR 1698" in running.connect("root", "")
    assert "ERROR 1045" in running.connect("root", ROOT_PASSWORD, *tcp)
    assert "ERROR 1045" in running.connect("mysql", "x", *tcp)
    assert running.connect("mysql", "") == "mysql@localhost"
    assert running.exec("mariadb", "-BNe", "SELECT 1", user="0").stdout == "1\n"


def test_an_application_has_its_database_and_no_other(running: Server) -> None:
    grants = running.sql("SHOW GRANTS FOR app")
    assert "ON `my\\\\_app`.*" in grants
    assert "ON *.* TO `app`@`%` IDENTIFIED" in grants
    assert grants.count("GRANT ") == 2
    assert running.sql("SHOW DATABASES LIKE 'test'") == ""
    assert running.sql("SELECT COUNT(*) FROM mysql.global_priv WHERE User = ''") == "0"


def test_scripts_ran_once_in_order_and_text_is_utf8mb4(running: Server) -> None:
    assert running.sql("SELECT n FROM my_app.t").split() == ["1", "2", "3", "4"]
    assert running.sql("SELECT s FROM my_app.t WHERE n = 1") == "喵🐈"
    assert running.sql("SELECT @@character_set_server, @@performance_schema").split() == [
        "utf8mb4",
        "0",
    ]


def test_backups_need_no_password(running: Server) -> None:
    dump = running.exec("mariadb-dump", "--user=mysql", "--single-transaction", "my_app").stdout
    assert "喵🐈" in dump
    backup = ("mariadb-backup", "--user=mysql", "--target-dir=/tmp/backup")
    running.exec(*backup, "--backup")
    running.exec(*backup, "--prepare")
    assert running.exec("test", "-f", "/tmp/backup/ibdata1").returncode == 0


CONTENT = r"""
CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci; USE shop;
CREATE TABLE parents (id INT PRIMARY KEY, text TEXT, bytes BLOB, at DATETIME(6));
CREATE TABLE children (id INT PRIMARY KEY AUTO_INCREMENT, parent INT NOT NULL,
  doubled INT AS (parent * 2) STORED, FULLTEXT KEY words (note), note TEXT,
  FOREIGN KEY (parent) REFERENCES parents (id));
INSERT INTO parents VALUES (1, '喵🐈 \'\\\\\' `x`', UNHEX('00FF1A0A27'), '2026-01-02 03:04:05.6'),
  (2, NULL, NULL, NULL), (-3, '', '', '1000-01-01');
INSERT INTO children (parent, note) SELECT 1, CONCAT('note ', seq) FROM seq_1_to_2000;
CREATE VIEW both_of AS SELECT p.text, c.note FROM parents p JOIN children c ON c.parent = p.id;
CREATE TRIGGER noted BEFORE INSERT ON children FOR EACH ROW SET NEW.note = TRIM(NEW.note);
CREATE EVENT cleaning ON SCHEDULE EVERY 1 DAY DO DELETE FROM children WHERE id < 0;
DELIMITER //
CREATE PROCEDURE tell() BEGIN SELECT COUNT(*) FROM children; END//
CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN 2 * n//
"""
SHAPE = """
CHECKSUM TABLE shop.parents, shop.children; SHOW CREATE TABLE shop.parents;
SHOW CREATE TABLE shop.children; SHOW CREATE VIEW shop.both_of; SHOW CREATE DATABASE shop;
SELECT trigger_name, action_statement FROM information_schema.triggers;
SELECT event_name, event_definition, status FROM information_schema.events;
SELECT routine_name, routine_definition FROM information_schema.routines
  WHERE routine_schema = 'shop' ORDER BY 1;
SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop' ORDER BY 1;
CALL shop.tell(); SELECT shop.twice(21), COUNT(*) FROM shop.both_of;
"""


def test_what_is_dumped_comes_back_as_it_was(running: Server) -> None:
    running.sql(CONTENT)
    before = running.sql(SHAPE)
    dump = running.exec("moorage-dump", "shop").stdout
    # What a release that failed has left behind.
    running.sql("USE shop; DELETE FROM children; DROP TABLE children; DROP EVENT cleaning;"
                "ALTER TABLE parents DROP COLUMN text; CREATE TABLE newer (n INT)")  # fmt: skip
    assert running.exec("moorage-restore", "shop", stdin=dump).returncode == 0
    assert running.sql(SHAPE) == before

    packed = (
        "moorage-dump shop | gzip -c > /tmp/d.gz && mariadb --user=mysql -e 'DROP DATABASE shop'"
    )
    running.exec("bash", "-euc", f"set -o pipefail; {packed}; moorage-restore shop < /tmp/d.gz")
    assert running.sql("CHECKSUM TABLE shop.parents, shop.children") in before
    assert running.files("ls -A | grep restore || true") == ""
    running.sql("DROP DATABASE shop")


def test_the_stacks_own_database_is_the_one_meant(running: Server) -> None:
    dump = running.exec("moorage-dump").stdout
    assert "喵🐈" in dump and dump.rstrip().splitlines()[-1].startswith("-- Dump completed")
    assert "CREATE DATABASE" not in dump and PASSWORD not in dump
    assert running.exec("moorage-dump", user="0").returncode == 0
    running.exec("moorage-restore", stdin=dump)
    # The application's rights do not hang on the database's life.
    tcp = ("--host", running.address())
    assert running.connect("app", PASSWORD, *tcp, "my_app").startswith("app@")


def test_a_dump_holds_one_moment(running: Server) -> None:
    running.sql("CREATE DATABASE pairs; CREATE TABLE pairs.a (n INT); CREATE TABLE pairs.b (n INT);"
                "INSERT INTO pairs.a VALUES (0); INSERT INTO pairs.b VALUES (0)")  # fmt: skip
    writing = """
    while [ ! -e /tmp/enough ]; do
      echo "START TRANSACTION; UPDATE a SET n = n + 1; UPDATE b SET n = n + 1; COMMIT;"
    done | mariadb --user=mysql pairs & touch /tmp/writing
    wait
    """
    name = ("exec", "--detach", "--user", "10002:10002", running.name)
    docker(*name, "bash", "-c", writing)
    try:
        counting = lambda: int(running.sql("SELECT n FROM pairs.a")) > 20  # noqa: E731
        wait_until(counting, "nothing is written")
        for _ in range(5):
            dump = running.exec("moorage-dump", "pairs").stdout
            values = [line for line in dump.splitlines() if line.startswith("(")]
            assert len(values) == 2 and values[0] == values[1], dump
    finally:
        running.exec("touch", "/tmp/enough")
    running.sql("DROP DATABASE pairs")


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (lambda dump: dump[: len(dump) // 2], "cut off or not one of moorage-dump"),
        (lambda _dump: "", "cut off or not one of moorage-dump"),
        (lambda dump: "SYNTAX ERROR;\n" + dump, "my_app is incomplete now: repeat this"),
    ],
)
def test_a_bad_dump_is_refused(running: Server, cut: Callable[[str], str], message: str) -> None:
    whole = running.exec("moorage-dump").stdout
    done = running.exec("moorage-restore", check=False, stdin=cut(whole))
    assert done.returncode != 0
    assert message in done.stderr
    if "incomplete" in message:
        running.exec("moorage-restore", stdin=whole)
    assert running.sql("SELECT n FROM my_app.t").split() == ["1", "2", "3", "4"]


def test_a_dump_that_fails_says_so(running: Server) -> None:
    for argv, code, message in (
        (("moorage-dump", "nowhere"), 66, "moorage-dump: there is no database nowhere"),
        (("moorage-dump", "a", "b"), 64, "usage: moorage-dump [DATABASE]"),
        (("moorage-dump", "mysql"), 64, "mysql belongs to the server"),
        (("env", "-u", "MARIADB_DATABASE", "moorage-dump"), 64, "MARIADB_DATABASE is not set"),
    ):
        done = running.exec(*argv, check=False)
        assert (done.returncode, done.stdout) == (code, "")
        assert message in done.stderr
    full = running.exec("bash", "-c", "moorage-dump > /dev/full", check=False)
    assert full.returncode != 0
    # Tables that cannot be read.
    running.sql("CREATE DATABASE broken; CREATE VIEW broken.v AS SELECT 1 AS x;"
                "CREATE OR REPLACE VIEW broken.v AS SELECT n FROM my_app.t;"
                "RENAME TABLE my_app.t TO my_app.away")  # fmt: skip
    done = running.exec("moorage-dump", "broken", check=False)
    running.sql("RENAME TABLE my_app.away TO my_app.t; DROP DATABASE broken")
    assert done.returncode != 0 and "Dump completed" not in done.stdout


COUNTED = r"""
CREATE TABLE shop.empty (n INT); CREATE TABLE shop.`odd ``name` (`a b` INT INVISIBLE, n FLOAT);
INSERT INTO shop.`odd ``name` (`a b`, n) VALUES (1, 1/3), (1, 1/3), (2, 5);
CREATE SEQUENCE shop.numbers; SELECT NEXTVAL(shop.numbers);
INSERT INTO shop.parents VALUES (4, 'a\nINSERT INTO `parents` VALUES\n(5),\r\n(6);', '\n', NULL);
"""


def census(server: Server, dump: str) -> dict[str, list[str]]:
    """Return rows and checksum of each table."""
    lines = server.exec("moorage-census", stdin=dump).stdout.splitlines()
    assert lines == sorted(lines)
    return {name: rest for name, *rest in (line.split("\t") for line in lines)}


def test_a_census_is_the_same_after_a_restore_and_another_after_any_change(running: Server) -> None:
    running.sql(CONTENT)
    running.sql(COUNTED)
    dump = running.exec("moorage-dump", "shop").stdout
    counted = census(running, dump)
    rows = {name: int(count) for name, (count, _checksum) in counted.items()}
    assert rows == {
        "(definitions)": 5,
        "(sequences)": 1,
        "empty": 0,
        "odd ``name": 3,
        "children": 2000,
        "parents": 4,
    }
    packed = "gzip -c > /tmp/d.gz && moorage-census < /tmp/d.gz"
    assert running.exec("bash", "-euc", packed, stdin=dump).stdout.splitlines() == [
        "\t".join((name, *rest)) for name, rest in sorted(counted.items())
    ]

    running.sql("CREATE DATABASE again")
    running.exec("moorage-restore", "again", stdin=dump)
    # Another order of the same rows.
    running.sql("USE again; DELETE FROM `odd ``name` WHERE n < 1;"
                "INSERT INTO `odd ``name` (`a b`, n) VALUES (1, 1/3), (1, 1/3)")  # fmt: skip
    second = running.exec("moorage-dump", "again").stdout
    assert second.index("(2,5)") < second.index("(1,0.333333)")
    assert census(running, second) == counted

    for change, table in (
        ("UPDATE parents SET bytes = UNHEX('00FF1A0A28') WHERE id = 1", "parents"),
        ("DELETE FROM children WHERE id = 1000", "children"),
        ("INSERT INTO `odd ``name` (`a b`, n) VALUES (1, 1/3)", "odd ``name"),
        ("INSERT INTO empty VALUES (NULL)", "empty"),
        ("DROP TABLE empty", "empty"),
        ("DROP TRIGGER noted", "(definitions)"),
        ("DO SETVAL(numbers, 7000)", "(sequences)"),
    ):
        before = census(running, running.exec("moorage-dump", "again").stdout)
        running.sql(f"USE again; {change}")
        after_it = census(running, running.exec("moorage-dump", "again").stdout)
        assert before.pop(table) != after_it.pop(table, None), change
        assert before == after_it
    running.sql("DROP DATABASE again; DROP DATABASE shop")


def test_nothing_is_counted_of_a_bad_dump(running: Server) -> None:
    whole = running.exec("moorage-dump").stdout
    for bad in ("", whole[: len(whole) // 2], whole[: whole.rindex("-- Dump completed")]):
        done = running.exec("moorage-census", check=False, stdin=bad)
        assert (done.returncode, done.stdout) == (65, "")
        assert "cut off or not one of moorage-dump" in done.stderr
    cut = "head -c -9 <(gzip -c) | moorage-census"
    done = running.exec("bash", "-c", cut, check=False, stdin=whole)
    assert (done.returncode, done.stdout) == (65, "")


TABLES = r"""
CREATE DATABASE shop; USE shop; CREATE TABLE people (id INT PRIMARY KEY);
CREATE TABLE `odd; ``names` (id INT PRIMARY KEY AUTO_INCREMENT, `a b` TEXT, person INT,
  twice INT AS (person * 2) STORED, at TIMESTAMP DEFAULT '2026-01-02 03:04:05',
  FOREIGN KEY (person) REFERENCES people (id));
CREATE TABLE replies (id INT PRIMARY KEY AUTO_INCREMENT, post INT,
  CONSTRAINT held FOREIGN KEY (post) REFERENCES `odd; ``names` (id) ON DELETE CASCADE);
INSERT INTO people VALUES (1), (2);
INSERT INTO `odd; ``names` (id, `a b`, person)
  SELECT seq, CONCAT('it''s;\n\\', seq), 1 + seq % 2 FROM seq_1_to_9;
UPDATE `odd; ``names` SET id = 0 WHERE id = 9;
INSERT INTO replies (post) VALUES (1), (1), (8);
CREATE TABLE fired (n INT); CREATE TABLE watched (n INT); CREATE TABLE old (n INT) ENGINE=Aria;
CREATE TRIGGER fires AFTER INSERT ON watched FOR EACH ROW INSERT INTO fired VALUES (NEW.n);
DELIMITER //
CREATE PROCEDURE tell() BEGIN
INSERT INTO `people` VALUES
(77);
END//
"""
ROWS = r"""
USE shop; SELECT id, `a b`, person, twice, at FROM `odd; ``names` ORDER BY id;
SELECT * FROM people ORDER BY id; SELECT * FROM replies ORDER BY id; SELECT COUNT(*) FROM fired;
"""


def restore_tables(running: Server, dump: str, *names: str) -> Any:
    argv = ("env", "MARIADB_DATABASE=shop", "moorage-restore-tables", *names)
    return running.exec(*argv, stdin=dump, check=False)


def test_rows_of_single_tables_come_back_and_no_others(running: Server) -> None:
    running.sql(TABLES)
    dump = running.exec("moorage-dump", "shop").stdout
    before = running.sql(ROWS)
    # As by mistake, past the keys; and what has been written and altered since.
    running.sql("USE shop; SET foreign_key_checks = 0; DELETE FROM `odd; ``names` WHERE id <> 5;"
                "UPDATE `odd; ``names` SET `a b` = 1; INSERT INTO people VALUES (3);"
                "ALTER TABLE `odd; ``names` ADD later INT DEFAULT 7 FIRST")  # fmt: skip
    done = restore_tables(running, dump, "odd; `names")
    assert done.returncode == 0, done
    assert running.sql(ROWS) == before.replace("\n2\n", "\n2\n3\n", 1)
    given = "USE shop; INSERT INTO `odd; ``names` () VALUES ()"
    running.sql(f"{given}; INSERT INTO replies (post) SELECT MAX(id) FROM `odd; ``names`")
    assert restore_tables(running, dump, "replies", "odd; `names").returncode == 0
    assert running.sql(ROWS) == before.replace("\n2\n", "\n2\n3\n", 1)

    newer = f"{given}; INSERT INTO replies (post) SELECT MAX(id) FROM `odd; ``names`"
    for change, name, code, why in (
        (newer, "odd; `names", 70, "foreign key held of `shop`.`replies` would not hold"),
        ("USE shop; DELETE FROM replies; UPDATE `odd; ``names` SET person = 1;"
         "DELETE FROM people WHERE id = 2", "odd; `names", 70, "of `shop`.`odd; ``names` would"),
        ("ALTER TABLE shop.replies CHANGE post posted INT", "replies", 70, "Unknown column 'post'"),
        ("SELECT 1", "watched", 66, "has triggers that every row would set off (fires)"),
        ("SELECT 1", "old", 66, "has no table old of InnoDB"),
        ("SELECT 1", "'; DROP TABLE people; --", 66, "has no table '; DROP"),
        ("CREATE TABLE shop.younger (n INT)", "younger", 65, "the dump has no table younger"),
    ):  # fmt: skip
        running.sql(change)
        now = running.sql(ROWS)
        done = restore_tables(running, dump, name)
        assert done.returncode == code and why in done.stderr, done
        assert "nothing has been changed" in done.stderr
        assert running.sql(ROWS) == now
    assert restore_tables(running, dump[:-99], "people").returncode == 65
    assert restore_tables(running, dump, "people").returncode == 0
    assert running.sql("SELECT id FROM shop.people").split() == ["1", "2"]
    running.sql("DROP DATABASE shop")
    assert running.sql("SHOW DATABASES LIKE 'moorage%'") == ""
    assert running.files("ls -A | grep restore || true") == ""


def test_an_idle_server_is_small(running: Server) -> None:
    status = running.exec("cat", "/proc/1/status").stdout
    resident = int(status.split("VmRSS:")[1].split()[0])
    assert resident < 130_000, "KiB"


def test_a_password_is_in_no_process_and_no_log(server: Server) -> None:
    with server.observed() as (options, told):
        server.start_usual(*options)
        server.wait_healthy()
        seen = told()
    assert "MARIADB_PASSWORD_FILE=/run/secrets/app" in seen
    assert "--auth-root-socket-user=mysql" in seen
    assert "--skip-networking" in seen
    for secret in (ROOT_PASSWORD, PASSWORD):
        assert secret not in seen
        assert secret not in server.logs()


def test_a_password_given_as_a_variable_leaves_the_environment(server: Server) -> None:
    server.start("--env", f"MYSQL_ROOT_PASSWORD={ROOT_PASSWORD}", "--env", "MYSQL_DATABASE=old")
    server.wait_healthy()

    assert ROOT_PASSWORD not in server.exec("cat", "/proc/1/environ").stdout
    assert server.connect("root", ROOT_PASSWORD) == "root@localhost"
    assert server.sql("SHOW DATABASES LIKE 'old'") == "old"


ROOT_FILE = ("--env", "MARIADB_ROOT_PASSWORD_FILE=/run/secrets/root")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no root password is given: set MARIADB_ROOT_PASSWORD_FILE"),
        (
            ("--env", "MARIADB_ROOT_PASSWORD_FILE=/run/secrets/none"),
            "MARIADB_ROOT_PASSWORD_FILE names /run/secrets/none, which is missing or not readable",
        ),
        (
            ("--env", "MARIADB_ROOT_PASSWORD_FILE=/run/secrets/empty"),
            "MARIADB_ROOT_PASSWORD_FILE names /run/secrets/empty, which is empty",
        ),
        (
            (*ROOT_FILE, "--env", "MYSQL_ROOT_PASSWORD=x"),
            "MARIADB_ROOT_PASSWORD_FILE and MYSQL_ROOT_PASSWORD are both set",
        ),
        (
            (*ROOT_FILE, "--env", "MARIADB_USER=app"),
            "MARIADB_USER is app but MARIADB_PASSWORD_FILE (or MARIADB_PASSWORD) is not set",
        ),
        ((*ROOT_FILE, "--env", "MARIADB_USER=root"), "MARIADB_USER is root, which exists already"),
    ],
)
def test_a_wrong_setting_says_what_to_do(
    server: Server, options: tuple[str, ...], message: str
) -> None:
    server.start(*options)

    assert server.wait_exit() == 1
    assert message in server.logs()
    assert server.files("ls -A") == ""


def test_a_first_start_can_be_killed_at_any_moment(server: Server) -> None:
    server.start_usual()
    for delay in (0.15, 0.3, 0.5, 0.7, 0.9):
        # The moments are spread over the 1.5 seconds that a first start takes.
        wait_until(after(delay), "the clock stands still")
        docker("kill", "--signal", "KILL", server.name)
        server.restart()

    server.wait_healthy()

    assert server.connect("app", PASSWORD, "--host", server.address(), "my_app").startswith("app@")
    assert server.connect("root", ROOT_PASSWORD) == "root@localhost"
    assert server.files("ls -d .init* 2>/dev/null || true") == ""


def test_a_kill_while_scripts_run_repeats_them_all(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "1.sql").write_text("CREATE TABLE once (n INT); INSERT INTO once VALUES (1);")
    # Waits for `go`, so that the kill comes after the table and before the end.
    (tmp_path / "2.sh").write_text(
        "cd /docker-entrypoint-initdb.d; touch /tmp/waiting; until [ -e go ]; do sleep 0.05; done\n"
    )
    server.start_usual("--volume", f"{tmp_path}:/docker-entrypoint-initdb.d:ro")
    waiting = ("test", "-e", "/tmp/waiting")
    wait_until(lambda: server.exec(*waiting, check=False).returncode == 0, "no script ran")
    docker("kill", "--signal", "KILL", server.name)
    assert "my_app" in server.files("ls .initialising")
    (tmp_path / "go").touch()

    server.restart()
    server.wait_healthy()

    assert server.sql("SELECT n FROM my_app.once") == "1"


def test_a_stop_during_the_first_start_is_obeyed_at_once(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "1.sh").write_text("touch /tmp/waiting; sleep 60 & wait $!\n")
    server.start_usual("--volume", f"{tmp_path}:/docker-entrypoint-initdb.d:ro")
    waiting = ("test", "-e", "/tmp/waiting")
    wait_until(lambda: server.exec(*waiting, check=False).returncode == 0, "no script ran")

    started = time.monotonic()
    docker("stop", "--time", "50", server.name)

    assert time.monotonic() - started < 30
    assert "stopped during initialisation" in server.logs()
    assert "Shutdown complete" in server.logs()


def test_moving_a_built_database_up_is_continued(server: Server) -> None:
    server.start_usual()
    server.wait_healthy()
    server.sql("CREATE TABLE my_app.kept (n INT)")
    docker("stop", server.name)
    server.files(
        "mkdir .initialised; mv mysql ibdata1 my_app .initialised; chown 10002 .initialised"
    )

    server.restart()
    server.wait_healthy()

    assert server.sql("SHOW TABLES FROM my_app") == "kept"
    assert "initialising" not in server.logs().rpartition("Shutdown complete")[2]


def test_a_restart_keeps_data_and_stops_cleanly(server: Server) -> None:
    server.start_usual()
    server.wait_healthy()
    server.sql("CREATE TABLE my_app.kept (n INT); INSERT INTO my_app.kept VALUES (42)")
    docker("stop", server.name)
    state = docker("inspect", "--format", "{{.State.ExitCode}}", server.name).stdout.strip()
    assert state == "0"
    assert server.logs().rstrip().endswith("mariadbd: Shutdown complete")

    server.replace()
    server.start_usual()
    server.wait_healthy()
    assert server.sql("SELECT n FROM my_app.kept") == "42"

    docker("kill", "--signal", "KILL", server.name)
    server.restart()
    server.wait_healthy()
    assert server.sql("SELECT n FROM my_app.kept") == "42"


def test_somebody_elses_files_are_refused_and_left_alone(server: Server) -> None:
    server.files("echo precious > notes.txt; chown 10002:10002 . notes.txt")
    server.start_usual()

    assert server.wait_exit() == 1
    assert "is not empty either (notes.txt)" in server.logs()
    assert server.files("cat notes.txt") == "precious\n"


def test_data_from_elsewhere_gets_the_accounts_of_this_image(server: Server) -> None:
    server.start_usual()
    server.wait_healthy()
    server.sql("DROP USER mysql@localhost, healthcheck@localhost, healthcheck@'127.0.0.1'")
    # A server that refuses the check's password is serving.
    assert server.is_healthy()
    docker("stop", server.name)
    # A physical backup brings no hidden files back.
    server.files("rm -rf .[!.]*")

    server.restart()
    server.wait_healthy()

    assert server.sql("SELECT CURRENT_USER()") == "mysql@localhost"
    assert server.connect("root", ROOT_PASSWORD) == "root@localhost"
    assert server.connect("app", PASSWORD, "--host", server.address()).startswith("app@")
    assert "Access denied" not in server.logs().rpartition("creating the accounts")[2]
    assert server.exec("healthcheck.sh", "--unknown", check=False).returncode == 64


def test_options_reach_the_server(server: Server) -> None:
    size = ("--env", "MARIADB_INNODB_BUFFER_POOL_SIZE=64M", "--env", "MYSQL_TCP_PORT=3310")
    server.start_usual(*size, command=("--max-connections=17",))
    server.wait_healthy()

    asked = "SELECT @@innodb_buffer_pool_size, @@max_connections, @@port"
    assert server.sql(asked).split() == [str(64 << 20), "17", "3310"]


def test_another_command_runs_as_it_is(image: str) -> None:
    version = docker("run", "--rm", image, "mariadbd", "--version").stdout
    assert "11.8" in version
    assert docker("run", "--rm", image, "id", "-u").stdout == "10002\n"


def test_as_root_it_gives_the_volume_away_and_steps_down(server: Server) -> None:
    server.files("touch .not-empty; chown -R 0:0 .; chmod 0755 .")
    server.start("--user", "0", *ROOT_FILE, hardened=False)
    server.wait_healthy()

    assert "Uid:\t10002\t10002" in server.exec("cat", "/proc/1/status").stdout


def test_a_volume_of_somebody_else_is_an_error_that_says_what_to_do(server: Server) -> None:
    server.files("touch .not-empty; chown -R 0:0 .; chmod 0755 .")
    server.start_usual()

    assert server.wait_exit() == 1
    assert "/var/lib/mysql is not writable by uid 10002: give the directory to" in server.logs()


def test_data_of_other_versions(server: Server) -> None:
    server.start_usual()
    server.wait_healthy()
    docker("stop", server.name)

    server.files("printf 11.4.2-MariaDB > mariadb_upgrade_info")
    server.restart()
    server.wait_healthy()
    assert "back up and start once with MARIADB_AUTO_UPGRADE=1" in server.logs()

    server.replace()
    server.start_usual("--env", "MARIADB_AUTO_UPGRADE=1")
    server.wait_healthy()
    assert server.files("cat mariadb_upgrade_info").startswith("11.8.")
    assert "CREATE TABLE" in server.files("gzip -dc system_mysql_backup_11.4.2.sql.gz")
    assert server.connect("root", ROOT_PASSWORD) == "root@localhost"

    docker("stop", server.name)
    server.files("printf 12.1.2-MariaDB > mariadb_upgrade_info")
    server.restart()
    assert server.wait_exit() == 1
    assert "written by MariaDB 12.1.2 and this is 11.8" in server.logs()
