"""The PostgreSQL image's contract, on a real engine: init, secrets, kills, versions, restores."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from data_server import Container, after, build_image, docker, wait_until, write_secrets

PASSWORD = "app-'pw'-\\$(x)-Geheim"
FILE = ("--env", "POSTGRES_PASSWORD_FILE=/run/secrets/app")
USUAL = (*FILE, "--env", "POSTGRES_USER=app", "--env", "POSTGRES_DB=my_app")


class Server(Container):  # type: ignore[misc]
    user = "10004:10004"
    data = "/var/lib/postgresql/data"
    run = "/run/postgresql"
    healthy = ("pg_isready", "--quiet")

    def sql(self, statement: str, database: str = "my_app") -> str:
        """Run it as the administrator that the socket lets in."""
        argv = ("psql", "-AtqX", "--set=ON_ERROR_STOP=1", f"--dbname={database}")
        return str(self.exec(*argv, stdin=statement).stdout).strip()

    def connect(self, user: str, password: str, database: str = "my_app") -> str:
        """Return who the server takes a client of the network for, or its refusal."""
        script = 'read -r PGPASSWORD; export PGPASSWORD; exec psql -AtqX "$@" -c "SELECT user"'
        argv = ("bash", "-c", script, "-", "-h", self.address(), "-U", user, "-d", database)
        done = self.exec(*argv, check=False, stdin=f"{password}\n")
        return str(done.stdout).strip() or str(done.stderr).strip()

    def dump(self, *argv: str) -> bytes:
        return bytes(self.exec_bytes("moorage-dump", *argv).stdout)

    def restore(self, dump: bytes, *argv: str) -> Any:
        return self.exec_bytes("moorage-restore", *argv, stdin=dump, check=False)


@pytest.fixture(scope="module")
def image() -> str:
    return str(build_image("postgres"))


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_secrets(tmp_path_factory.mktemp("secrets"), {"app": PASSWORD, "empty": ""}))


@pytest.fixture
def server(image: str, secrets: Path) -> Iterator[Server]:
    made = Server(image, secrets)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scripts of every kind for the first start, as those for the official image are written."""
    scripts = tmp_path_factory.mktemp("initdb")
    scripts.chmod(0o755)
    (scripts / "1.sql").write_text(
        "CREATE TABLE t (n int, s text); INSERT INTO t VALUES (1, '喵🐈');\n"
    )
    (scripts / "2.sql.gz").write_bytes(gzip.compress(b"INSERT INTO t VALUES (2, '');"))
    (scripts / "3.sh").write_text("docker_process_sql <<< \"INSERT INTO t VALUES (3, '')\"\n")
    (scripts / "4.sh").write_text(
        "#!/bin/bash\nset -e\n"
        'psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<-SQL\n'
        "  INSERT INTO t VALUES (4, ''); CREATE ROLE reader; CREATE EXTENSION pg_trgm;\n"
        "SQL\n"
    )
    (scripts / "4.sh").chmod(0o755)
    return scripts


@pytest.fixture(scope="module")
def running(image: str, secrets: Path, scripts: Path) -> Iterator[Server]:
    """One hardened server, for everything that only looks."""
    made = Server(image, secrets)
    made.start(*USUAL, "--volume", f"{scripts}:/docker-entrypoint-initdb.d:ro")
    made.wait_healthy()
    yield made
    made.remove()


def test_it_runs_as_its_own_user_without_capabilities(running: Server) -> None:
    status = running.exec("cat", "/proc/1/status").stdout
    assert "Name:\tpostgres" in status
    assert "Uid:\t10004\t10004" in status
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert int(status.split("VmRSS:")[1].split()[0]) < 40_000, "KiB"


def test_accounts_come_in_as_they_should_and_not_otherwise(running: Server) -> None:
    assert running.connect("app", PASSWORD) == "app"
    assert "password authentication failed" in running.connect("app", "wrong")
    assert "password authentication failed" in running.connect("postgres", PASSWORD)
    assert running.sql("SELECT user") == "postgres"
    assert running.exec("psql", "-Atc", "SELECT 1", "-U", "postgres", user="0").stdout == "1\n"
    assert running.exec("psql", "-Atc", "SELECT user", "-U", "app", "my_app").stdout == "app\n"


def test_an_application_owns_its_database_and_administers_nothing(running: Server) -> None:
    assert running.sql("SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = 'app'") == (
        "f|f"
    )
    asked = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'my_app'"
    assert running.sql(asked) == "app"
    # What it creates itself, in the schema that is there.
    running.exec("psql", "-U", "app", "my_app", stdin="CREATE TABLE own (n int); DROP TABLE own")


def test_scripts_ran_once_in_order_and_text_is_utf8(running: Server) -> None:
    assert running.sql("SELECT n FROM t ORDER BY n").split() == ["1", "2", "3", "4"]
    assert running.sql("SELECT s FROM t WHERE n = 1") == "喵🐈"
    assert running.sql("SELECT upper('ä'), 'Z' < 'a', 'a' < 'ä' COLLATE \"de-x-icu\"") == "Ä|t|t"
    shown = running.sql("SHOW server_encoding; SHOW data_checksums; SHOW jit")
    assert shown.split() == ["UTF8", "on", "off"]


CONTENT = r"""
CREATE SCHEMA more; CREATE EXTENSION citext SCHEMA more; CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TABLE parents (id int PRIMARY KEY, text text, bytes bytea, at timestamptz(6), m mood);
CREATE TABLE more.children (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note more.citext,
  parent int NOT NULL REFERENCES public.parents,
  doubled int GENERATED ALWAYS AS (parent * 2) STORED);
CREATE INDEX words ON more.children USING gin (to_tsvector('english', note::text));
INSERT INTO parents VALUES (1, E'喵🐈 ''\\ "x"\n', '\x00ff1a0a27', '2026-01-02 03:04:05+08', 'sad'),
  (2, NULL, NULL, NULL, NULL), (-3, '', '', '-infinity', 'glad');
INSERT INTO more.children (parent, note) SELECT 1, 'note ' || n FROM generate_series(1, 2000) n;
CREATE VIEW both_of AS SELECT text, note FROM parents p JOIN more.children c ON c.parent = p.id;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM more.children;
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN NEW.note := trim(NEW.note); RETURN NEW; END$$;
CREATE TRIGGER noted BEFORE INSERT ON more.children FOR EACH ROW EXECUTE FUNCTION noted();
GRANT SELECT ON parents TO app; SELECT lo_from_bytea(4711, '\x0102');
"""
SHAPE = r"""
SELECT md5(string_agg(p::text, ';' ORDER BY id)) FROM parents p;
SELECT md5(string_agg(c::text, ';' ORDER BY id)) FROM more.children c;
SELECT n.nspname, relname, relkind, pg_get_userbyid(relowner), relacl FROM pg_class c
  JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('public', 'more') ORDER BY 1, 2;
SELECT indexdef FROM pg_indexes WHERE schemaname = 'more' ORDER BY 1;
SELECT pg_get_viewdef('both_of'), pg_get_functiondef('noted'::regproc), (SELECT count FROM counted);
SELECT tgname FROM pg_trigger WHERE NOT tgisinternal; SELECT last_value FROM more.children_id_seq;
SELECT extname FROM pg_extension ORDER BY 1; SELECT lo_get(4711); SHOW work_mem;
SELECT pg_get_userbyid(datdba), datconnlimit, datlocale,
  (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(datacl) a)
  FROM pg_database WHERE datname = current_database();
"""


def test_what_is_dumped_comes_back_as_it_was(running: Server) -> None:
    running.sql("CREATE DATABASE shop OWNER app CONNECTION LIMIT 7", "postgres")
    running.sql(CONTENT, "shop")
    running.sql("ALTER DATABASE shop SET work_mem = '5MB';"
                "GRANT CONNECT ON DATABASE shop TO reader;"
                "REVOKE CONNECT ON DATABASE shop FROM PUBLIC")  # fmt: skip
    before = running.sql(SHAPE, "shop")
    dump = running.dump("shop")
    assert dump.startswith(b"PGDMP") and PASSWORD.encode() not in dump
    # What a release that failed has left behind.
    running.sql("DELETE FROM more.children; DROP VIEW both_of; DROP TRIGGER noted ON more.children;"
                "ALTER TABLE parents DROP COLUMN text; CREATE SCHEMA newer; CREATE TABLE newer.t();"
                "CREATE TABLE newer (n int); SELECT lo_unlink(4711)", "shop")  # fmt: skip
    # A session that somebody left open holds nothing up.
    open_one = ("exec", "--detach", "--user", running.user, running.name)
    docker(*open_one, "psql", "-d", "shop", "-c", "SELECT pg_sleep(100)")
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'"
    wait_until(lambda: running.sql(asked) == "1", "no session is there")

    done = running.restore(gzip.compress(dump), "shop")
    assert done.returncode == 0, done.stderr

    assert running.sql(SHAPE, "shop") == before
    assert running.sql("SELECT to_regclass('newer'), to_regnamespace('newer')", "shop") == "|"
    running.sql("DROP DATABASE shop", "postgres")
    assert running.restore(dump, "shop").returncode == 0
    assert running.sql(SHAPE, "shop").splitlines()[:2] == before.splitlines()[:2]
    running.sql("DROP DATABASE shop", "postgres")
    assert running.sql("SELECT datname FROM pg_database WHERE datname LIKE 'moorage-%'") == ""
    assert running.files("ls -A | grep restore || true") == ""


def test_the_stacks_own_database_is_the_one_meant(running: Server) -> None:
    dump = running.dump()
    assert running.exec("bash", "-c", "moorage-dump > /dev/null", user="0").returncode == 0
    running.sql("DROP TABLE t")
    assert running.restore(dump).returncode == 0
    assert running.sql("SELECT n FROM t ORDER BY n").split() == ["1", "2", "3", "4"]
    assert running.connect("app", PASSWORD) == "app"


def test_a_dump_holds_one_moment(running: Server) -> None:
    running.sql("CREATE TABLE a (n int); CREATE TABLE b (n int);"
                "INSERT INTO a VALUES (0); INSERT INTO b VALUES (0)")  # fmt: skip
    writing = """
    while [ ! -e /tmp/enough ]; do
      echo "BEGIN; UPDATE a SET n = n + 1; UPDATE b SET n = n + 1; COMMIT;"
    done | psql -q my_app
    """
    docker("exec", "--detach", "--user", running.user, running.name, "bash", "-c", writing)
    try:
        wait_until(lambda: int(running.sql("SELECT n FROM a")) > 20, "nothing is written")
        dump = running.dump()
    finally:
        running.exec("touch", "/tmp/enough")
    assert running.restore(dump).returncode == 0
    assert running.sql("SELECT a.n = b.n AND a.n > 20 FROM a, b") == "t"
    running.sql("DROP TABLE a, b")


def test_a_bad_dump_is_refused_and_nothing_touched(running: Server) -> None:
    whole = running.dump()
    flipped = bytearray(whole)
    flipped[-20] ^= 255
    plain = running.exec("pg_dump", "my_app").stdout.encode()
    for bad in (b"", whole[:100], whole[:-1], bytes(flipped), plain, gzip.compress(whole)[:-9]):
        done = running.restore(bad)
        assert done.returncode == 65, done
        assert b"nothing has been changed" in done.stderr
    # It is whole and cannot be restored: its owner is nobody here.
    running.sql("CREATE ROLE gone; CREATE TABLE theirs (n int); ALTER TABLE theirs OWNER TO gone")
    dump = running.dump()
    running.sql("DROP TABLE theirs; DROP ROLE gone; CREATE TABLE later (n int)")
    done = running.restore(dump)
    assert done.returncode == 70, done
    assert b"my_app is as it was" in done.stderr
    assert running.sql("SELECT to_regclass('later')") == "later"
    running.sql("DROP TABLE later")
    assert running.sql("SELECT datname FROM pg_database WHERE datname LIKE 'moorage-%'") == ""


COUNTED = r"""
CREATE TABLE "odd ""name"" (a) FROM stdin;" (a int, b varchar(9) CHECK (b IN ('x', 'y')));
INSERT INTO "odd ""name"" (a) FROM stdin;" VALUES (1, 'x'), (1, 'x');
CREATE TABLE empty (n int); CREATE TABLE nothing ();
CREATE TABLE parts (n int) PARTITION BY LIST (n);
CREATE TABLE part PARTITION OF parts DEFAULT; INSERT INTO parts VALUES (1);
INSERT INTO parents VALUES (4, E'a\n\\.\nCOPY public.empty (n) FROM stdin;\n1', NULL, NULL, NULL);
CREATE SEQUENCE numbers; SELECT setval('numbers', 41);
"""


def census(server: Server, dump: bytes) -> dict[str, list[str]]:
    """Return rows and checksum of each table."""
    lines = server.exec_bytes("moorage-census", stdin=dump).stdout.decode().splitlines()
    assert lines == sorted(lines)
    return {name: rest for name, *rest in (line.split("\t") for line in lines)}


def test_a_census_is_the_same_after_a_restore_and_another_after_any_change(running: Server) -> None:
    running.sql("CREATE DATABASE shop", "postgres")
    running.sql(CONTENT, "shop")
    running.sql(COUNTED, "shop")
    dump = running.dump("shop")
    counted = census(running, dump)
    rows = {name: int(count) for name, (count, _checksum) in counted.items()}
    assert rows.pop("(definitions)") > 10 and rows.pop("(large objects)") > 1
    assert rows == {
        "more.children": 2000,
        "more.children_id_seq": 1,
        "public.parents": 4,
        'public."odd ""name"" (a) FROM stdin;"': 2,
        "public.empty": 0,
        "public.nothing": 0,
        "public.part": 1,
        "public.numbers": 1,
    }
    assert census(running, gzip.compress(dump)) == counted

    done = running.restore(dump, "again")
    assert done.returncode == 0, done.stderr
    # Another order of the same rows.
    running.sql("UPDATE parents SET at = at WHERE id = 1", "again")
    assert running.sql("SELECT id FROM parents", "again").split() == ["2", "-3", "4", "1"]
    assert census(running, running.dump("again")) == counted

    for change, table in (
        ("UPDATE parents SET bytes = '\\x00ff1a0a28' WHERE id = 1", "public.parents"),
        ("DELETE FROM more.children WHERE id = 1000", "more.children"),
        ("INSERT INTO parts VALUES (1)", "public.part"),
        ("DROP TABLE nothing", "public.nothing"),
        ("DROP TRIGGER noted ON more.children", "(definitions)"),
        ("SELECT nextval('numbers')", "public.numbers"),
        ("SELECT lo_put(4711, 1, '\\x03')", "(large objects)"),
    ):
        before = census(running, running.dump("again"))
        running.sql(change, "again")
        after_it = census(running, running.dump("again"))
        assert before.pop(table) != after_it.pop(table, None), change
        before.pop("(definitions)", None), after_it.pop("(definitions)", None)
        assert before == after_it
    running.sql("DROP DATABASE shop", "postgres")
    running.sql("DROP DATABASE again", "postgres")


def test_nothing_is_counted_of_a_bad_dump(running: Server) -> None:
    whole = running.dump()
    flipped = bytearray(whole)
    flipped[-20] ^= 255
    plain = running.exec("pg_dump", "my_app").stdout.encode()
    for bad in (
        *(b"", whole[:100], whole[: len(whole) // 2], whole[:-1], bytes(flipped), plain),
        gzip.compress(whole)[:-9],
    ):
        done = running.exec_bytes("moorage-census", stdin=bad, check=False)
        assert (done.returncode, done.stdout) == (65, b""), done
        assert b"nothing was counted" in done.stderr


TABLES = r"""
CREATE TABLE people (id int PRIMARY KEY); CREATE SCHEMA more; CREATE TABLE more.people (id int);
CREATE TABLE "Odd; names" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "a b" text UNIQUE,
  person int REFERENCES people, twice int GENERATED ALWAYS AS (person * 2) STORED);
CREATE TABLE replies (id serial PRIMARY KEY,
  post int CONSTRAINT held REFERENCES "Odd; names" ON DELETE CASCADE);
INSERT INTO people VALUES (1), (2);
INSERT INTO "Odd; names" ("a b", person) SELECT E'\t\\' || n, 1 + n % 2
  FROM generate_series(1, 9) n;
INSERT INTO replies (post) VALUES (1), (1), (9);
CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN INSERT INTO more.people VALUES (1); RETURN NULL; END$$;
CREATE TRIGGER fired AFTER INSERT OR DELETE ON "Odd; names" FOR EACH ROW EXECUTE FUNCTION fired();
ALTER DATABASE shop SET search_path = public, pg_catalog;
CREATE FUNCTION format(text, regclass) RETURNS text LANGUAGE sql AS
  'SELECT $$INSERT INTO more.people VALUES (1)$$';
"""
ROWS = """
SELECT id, "a b", person, twice FROM "Odd; names" ORDER BY id; SELECT * FROM people ORDER BY id;
SELECT * FROM replies ORDER BY id; SELECT count(*) FROM more.people;
SELECT bool_and(convalidated) FROM pg_constraint;
"""


def restore_tables(running: Server, dump: bytes, *names: str) -> Any:
    argv = ("env", "POSTGRES_DB=shop", "moorage-restore-tables", *names)
    return running.exec_bytes(*argv, stdin=dump, check=False)


def test_rows_of_single_tables_come_back_and_no_others(running: Server) -> None:
    running.sql("CREATE DATABASE shop", "postgres")
    running.sql(TABLES, "shop")
    dump = running.dump("shop")
    # As by mistake, past the keys; and what has been written and altered since.
    spoil = """SET session_replication_role = replica; DELETE FROM "Odd; names" WHERE id <> 5;
      UPDATE "Odd; names" SET "a b" = 1; SET session_replication_role = origin;
      INSERT INTO people VALUES (3); ALTER TABLE "Odd; names" ADD later int DEFAULT 7;
      ALTER TABLE "Odd; names" ALTER id RESTART WITH 3; SELECT nextval('replies_id_seq')"""
    before = running.sql(ROWS, "shop")
    running.sql(spoil, "shop")
    done = restore_tables(running, gzip.compress(dump), "Odd; names")
    assert done.returncode == 0, done
    assert running.sql(ROWS, "shop") == before.replace("\n2\n", "\n2\n3\n")
    assert running.sql('SELECT sum(later) FROM "Odd; names"', "shop") == "63"
    # No number is given twice, nor one that has been given since.
    given = 'INSERT INTO "Odd; names" DEFAULT VALUES RETURNING id'
    assert running.sql(given, "shop") == "10"
    running.sql("INSERT INTO replies (post) VALUES (10)", "shop")
    assert restore_tables(running, dump, "public.Odd; names", "replies").returncode == 0
    kept = running.sql("SELECT nextval('replies_id_seq'), (SELECT count(*) FROM replies)", "shop")
    assert kept == "6|3"

    newer = f"{given}; INSERT INTO replies (post) VALUES (11)"
    for change, name, code, why in (
        (newer, "Odd; names", 70, 'violates foreign key constraint "held"'),
        ('DELETE FROM replies; UPDATE "Odd; names" SET person = 1; DELETE FROM people WHERE id = 2',
         "Odd; names", 70, 'is not present in table "people"'),
        ("ALTER TABLE replies RENAME post TO posted", "replies", 70, 'column "post" of relation'),
        ("SELECT 1", "people", 66, "several tables people"),
        ('ALTER TABLE "Odd; names" ENABLE ALWAYS TRIGGER fired', "Odd; names", 66, "fired"),
        ("SELECT 1", "'); DROP TABLE people; --", 66, "has no table '); DROP"),
        ("CREATE TABLE younger (n int)", "younger", 66, "the dump has no table younger"),
    ):  # fmt: skip
        running.sql(change, "shop")
        now = running.sql(ROWS, "shop")
        done = restore_tables(running, dump, name)
        assert done.returncode == code and why in done.stderr.decode(), done
        assert b"nothing has been changed" in done.stderr
        assert running.sql(ROWS, "shop") == now
    assert restore_tables(running, dump[:-9], "more.people").returncode == 65
    running.sql("DROP DATABASE shop", "postgres")
    assert running.files("ls -A | grep restore || true") == ""


def test_a_dump_that_fails_says_so(running: Server) -> None:
    without = ("env", "-u", "POSTGRES_DB", "-u", "POSTGRES_USER", "moorage-dump")
    for argv, code, message in (
        (("moorage-dump", "nowhere"), 66, "moorage-dump: there is no database nowhere"),
        (("moorage-dump", "a", "b"), 64, "usage: moorage-dump [DATABASE]"),
        (("moorage-dump", "template1"), 64, "template1 belongs to the server"),
        (without, 64, "neither POSTGRES_DB nor POSTGRES_USER is set"),
    ):
        done = running.exec(*argv, check=False)
        assert (done.returncode, done.stdout) == (code, "")
        assert message in done.stderr
    full = running.exec("bash", "-c", "moorage-dump > /dev/full", check=False)
    assert full.returncode != 0


def test_a_password_is_in_no_process_and_no_log(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "log.conf").write_text("log_statement = all\nlog_min_duration_statement = 0\n")
    mounted = ("--volume", f"{tmp_path}:/etc/postgresql/conf.d:ro")
    with server.observed() as (options, seen):
        server.start(*USUAL, *mounted, *options)
        server.wait_healthy()
        told = seen()
    assert "POSTGRES_PASSWORD_FILE=/run/secrets/app" in told
    assert "listen_addresses=" in told and "--locale-provider=builtin" in told
    for text in (told, server.logs()):
        assert "Geheim" not in text


def test_a_password_given_as_a_variable_leaves_the_environment(server: Server) -> None:
    server.start("--env", f"POSTGRES_PASSWORD={PASSWORD}")
    server.wait_healthy()

    assert PASSWORD not in server.exec("cat", "/proc/1/environ").stdout
    assert server.connect("postgres", PASSWORD, "postgres") == "postgres"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no password is given: set POSTGRES_PASSWORD_FILE"),
        (
            ("--env", "POSTGRES_PASSWORD_FILE=/run/secrets/none"),
            "POSTGRES_PASSWORD_FILE names /run/secrets/none, which is missing or not readable",
        ),
        (
            ("--env", "POSTGRES_PASSWORD_FILE=/run/secrets/empty"),
            "POSTGRES_PASSWORD_FILE names /run/secrets/empty, which is empty",
        ),
        ((*FILE, "--env", "POSTGRES_PASSWORD=x"), "are both set: keep one"),
        ((*FILE, "--env", "POSTGRES_USER=pg_app"), "pg_app, which PostgreSQL keeps for itself"),
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
    server.start(*USUAL)
    for delay in (0.2, 0.5, 0.8, 1.1, 1.5, 2.0):
        # The moments are spread over the two seconds that a first start takes.
        wait_until(after(delay), "the clock stands still")
        docker("kill", "--signal", "KILL", server.name, check=False)
        server.restart()

    server.wait_healthy()

    assert server.connect("app", PASSWORD) == "app"
    assert server.files("ls -d .init* 2>/dev/null || true") == ""


WAITING = ("test", "-e", "/tmp/waiting")


def test_the_first_start_is_not_healthy_and_a_kill_repeats_its_scripts(
    server: Server, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "1.sql").write_text("CREATE TABLE once (n int); INSERT INTO once VALUES (1);")
    # Waits for `go`, so that the kill comes after the table and before the end.
    (tmp_path / "2.sh").write_text(
        "cd /docker-entrypoint-initdb.d; touch /tmp/waiting; until [ -e go ]; do sleep 0.05; done\n"
    )
    server.start(*USUAL, "--volume", f"{tmp_path}:/docker-entrypoint-initdb.d:ro")
    wait_until(lambda: server.exec(*WAITING, check=False).returncode == 0, "no script ran")
    assert not server.is_healthy()
    assert server.exec("pg_isready", "-h", "127.0.0.1", check=False).returncode == 2
    docker("kill", "--signal", "KILL", server.name)
    assert "PG_VERSION" in server.files("ls .initialising")
    (tmp_path / "go").touch()

    server.restart()
    server.wait_healthy()

    assert server.sql("SELECT n FROM once") == "1"


def test_a_stop_during_the_first_start_is_obeyed_at_once(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "1.sh").write_text("touch /tmp/waiting; sleep 60 & wait $!\n")
    server.start(*USUAL, "--volume", f"{tmp_path}:/docker-entrypoint-initdb.d:ro")
    wait_until(lambda: server.exec(*WAITING, check=False).returncode == 0, "no script ran")

    started = time.monotonic()
    docker("stop", "--time", "50", server.name)

    assert time.monotonic() - started < 30
    assert "stopped during initialisation" in server.logs()
    assert "database system is shut down" in server.logs()


def test_moving_a_built_database_up_is_continued_and_data_stays(server: Server) -> None:
    server.start(*USUAL)
    server.wait_healthy()
    server.sql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
    docker("stop", server.name)
    state = docker("inspect", "--format", "{{.State.ExitCode}}", server.name).stdout.strip()
    assert state == "0"
    server.files(
        "mkdir .initialised; mv base global pg_hba.conf .initialised; chown 10004 .initialised"
    )
    server.restart()
    server.wait_healthy()
    assert server.sql("SELECT n FROM kept") == "42"

    docker("kill", "--signal", "KILL", server.name)
    server.replace()
    server.start(*USUAL)
    server.wait_healthy()
    assert server.sql("SELECT n FROM kept") == "42"
    assert "initialising" not in server.logs()


# The second may not be looked at, as processes of systemd's units with users of their own: nobody
# can read what it runs.
HIDDEN = (
    "install -m 0111 /usr/bin/sleep /tmp/s; exec setpriv --reuid=10004 --clear-groups /tmp/s 600"
)


@pytest.mark.parametrize(
    ("user", "command"),
    [("10004:10004", ("sleep", "600")), ("0", ("bash", "-c", HIDDEN))],
    ids=["seen", "hidden"],
)
def test_a_number_that_another_process_has_by_now_keeps_no_server_down(
    server: Server, user: str, command: tuple[str, ...]
) -> None:
    server.start(*USUAL)
    server.wait_healthy()
    docker("kill", "--signal", "KILL", server.name)
    # As on a host, where the processes of several stacks have one set of numbers.
    other = f"{server.name}-other"
    docker("run", "--detach", "--name", other, "--user", user, server.image, *command)
    owned = ("exec", "--user", server.user, other, "kill", "-0", "1")
    wait_until(lambda: docker(*owned, check=False).returncode == 0, "nobody else has the number")
    seen = docker("exec", "--user", server.user, other, "ls", "/proc/1/cwd/", check=False)
    assert (seen.returncode == 0) == (user != "0")
    try:
        server.files("sed -i 1s/.*/1/ postmaster.pid")
        server.replace()
        server.start(*USUAL, "--pid", f"container:{other}")
        server.wait_healthy()
        assert "1 is another process" in server.logs()
    finally:
        server.replace()
        docker("rm", "--force", other)


@pytest.mark.parametrize("mark", ["", "12", "\\0\\0\\0"], ids=["empty", "short", "zeroes"])
def test_a_torn_mark_keeps_no_server_down(server: Server, mark: str) -> None:
    server.start(*USUAL)
    server.wait_healthy()
    docker("kill", "--signal", "KILL", server.name)
    server.files(f"printf '{mark}' > postmaster.pid")
    server.restart()
    server.wait_healthy()


def refused(server: Server, message: str, start: Callable[[], None]) -> None:
    start()
    assert server.wait_exit() == 1
    assert message in server.logs()


def test_a_second_server_of_the_same_data_is_refused(server: Server) -> None:
    server.start(*USUAL)
    server.wait_healthy()
    second = type(server)(server.image, server.secrets)
    second.volume, own = server.volume, second.volume
    try:
        refused(second, "another server works in", lambda: second.start(*USUAL))
        assert server.is_healthy()
        # One that was killed keeps nobody out.
        docker("kill", "--signal", "KILL", server.name)
        second.restart()
        second.wait_healthy()
    finally:
        second.replace()
        second.volume = own
        second.remove()


def test_data_of_another_version_is_refused_and_left_alone(server: Server) -> None:
    server.files("echo 15 > PG_VERSION; mkdir base; chown -R 10004:10004 .")
    refused(server, "is of PostgreSQL 15 and this is 17", lambda: server.start(*USUAL))
    assert "dump it with an image of PostgreSQL 15" in server.logs()
    assert server.files("ls -A; cat PG_VERSION").split() == ["PG_VERSION", "base", "15"]


def test_somebody_elses_files_are_refused_and_left_alone(server: Server) -> None:
    server.files("echo precious > notes.txt; chown 10004:10004 . notes.txt")
    refused(server, "is not empty either (notes.txt)", lambda: server.start(*USUAL))
    assert server.files("cat notes.txt") == "precious\n"


def test_a_volume_of_somebody_else_is_an_error_that_says_what_to_do(server: Server) -> None:
    server.files("touch .not-empty; chown -R 0:0 .; chmod 0755 .")
    message = f"{Server.data} is not writable by uid 10004: give the directory to"
    refused(server, message, lambda: server.start(*USUAL))


def test_as_root_it_gives_data_of_the_official_image_away_and_adopts_it(server: Server) -> None:
    # As the official image makes it: POSTGRES_USER is the only superuser, its locale is libc's.
    made = "initdb -D /data/d -U app --locale=en_US.UTF-8 --auth=trust > /dev/null"
    docker(
        *("run", "--rm", "--user", "0", "--volume", f"{server.name}:/data", "--entrypoint", "sh"),
        *(server.image, "-euc", "chown postgres /data; setpriv --reuid=postgres --clear-groups "
          f"{made}; mv /data/d/* /data; rmdir /data/d; chown -R 999:999 /data; "
          "echo 'work_mem = 7MB' >> /data/postgresql.conf"),
    )  # fmt: skip
    options = (*FILE, "--env", "POSTGRES_USER=app", "--env", "POSTGRES_DB=postgres")
    server.start("--user", "0", *options, hardened=False)
    server.wait_healthy()

    assert "Uid:\t10004\t10004" in server.exec("cat", "/proc/1/status").stdout
    assert server.sql("SELECT user; SHOW work_mem; SHOW listen_addresses", "postgres").split() == [
        "postgres",
        "7MB",
        "*",
    ]
    dump = server.dump()
    assert server.restore(dump).returncode == 0
    docker("restart", server.name)
    server.wait_healthy()
    assert server.logs().count("adopting the data") == 1


def test_settings_come_from_files_options_and_the_server_itself(
    server: Server, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "own.conf").write_text("shared_buffers = 64MB\nmax_connections = 17\n")
    mounted = ("--volume", f"{tmp_path}:/etc/postgresql/conf.d:ro")
    shape = ("--env", "POSTGRES_INITDB_ARGS=--locale=en_US.UTF-8 --wal-segsize=4")
    server.start(*USUAL, *mounted, *shape, "--env", "PGPORT=5433", "--env",
                 f"PGDATA={Server.data}/below", command=("-c", "max_connections=18"))  # fmt: skip
    server.wait_healthy()
    server.sql("ALTER SYSTEM SET work_mem = '9MB'")
    server.sql("SELECT pg_reload_conf()")

    names = ("shared_buffers", "max_connections", "port", "wal_segment_size", "work_mem")
    shown = server.sql(";".join(f"SHOW {name}" for name in names)).split()
    assert shown == ["64MB", "18", "5433", "4MB", "9MB"]
    asked = "SELECT datlocprovider, datcollate FROM pg_database WHERE datname = 'my_app'"
    assert server.sql(asked) == "c|en_US.UTF-8"
    assert server.files("ls -A") == "below\n"
    assert server.restore(server.dump()).returncode == 0
    assert server.sql(asked) == "c|en_US.UTF-8"


def test_everybody_comes_in_only_where_that_is_asked_for(server: Server) -> None:
    server.start("--env", "POSTGRES_HOST_AUTH_METHOD=trust")
    server.wait_healthy()
    assert server.connect("postgres", "", "postgres") == "postgres"


def test_another_command_runs_as_it_is(image: str) -> None:
    assert " 17." in docker("run", "--rm", image, "postgres", "--version").stdout
    assert docker("run", "--rm", image, "id", "-u").stdout == "10004\n"
