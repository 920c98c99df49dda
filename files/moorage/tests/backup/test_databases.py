"""MariaDB, PostgreSQL and Redis as they are: what was in them at the backup is in them again."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from data_server import build_image
from saved import Saved

FILL = {
    "mysql": "CREATE TABLE other (id INT PRIMARY KEY); INSERT INTO other VALUES (1);"
    "CREATE TABLE `odd ``name` (id INT PRIMARY KEY); INSERT INTO `odd ``name` VALUES (1);"
    "CREATE TABLE t (id INT PRIMARY KEY, v VARBINARY(200));"
    "INSERT INTO t SELECT seq, SHA2(seq, 512) FROM seq_1_to_20000",
    "postgres": "CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1);"
    'CREATE TABLE "odd ""name" (id int PRIMARY KEY); INSERT INTO "odd ""name" VALUES (1);'
    "CREATE TABLE t (id int PRIMARY KEY, v text);"
    "INSERT INTO t SELECT n, sha256(n::text::bytea)::text FROM generate_series(1, 20000) n",
    "redis": "EVAL \"for n = 1, 5000 do redis.call('SET', 'key:' .. n, string.rep(n, 20)) end\" 0",
}
SPOIL = {
    "mysql": "DELETE FROM t WHERE id % 7 = 0; CREATE TABLE later (id INT)",
    "postgres": "DELETE FROM t WHERE id % 7 = 0; CREATE TABLE later (id int)",
    "redis": "FLUSHALL",
}
SUM = {
    "mysql": "CHECKSUM TABLE t; SHOW TABLES",
    "postgres": "SELECT count(*), md5(string_agg(id || v, ',' ORDER BY id)) FROM t;"
    "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'",
    "redis": "DEBUG DIGEST",
}
CLIENT = {
    "mysql": "mariadb --protocol=socket shop",
    "postgres": "psql -AtqX --set=ON_ERROR_STOP=1 --dbname=shop",
    "redis": "redis-cli",
}


def ask(saved: Saved, service: str, words: str) -> str:
    """Have a database do something, and return what it prints."""
    done = subprocess.run(
        ["docker", "exec", "-i", f"{saved.stack}-{service}", "sh", "-c", CLIENT[service]],
        input=words + "\n", capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert "ERR" not in done.stdout, done
    return done.stdout


def service(saved: Saved, name: str, image: str, user: int, target: str, check: str) -> Any:
    path = saved.layout.base / "data" / name
    path.mkdir(parents=True)
    os.chown(path, user, user)
    variables = {
        "mysql": {"MARIADB_DATABASE": "shop", "MARIADB_ROOT_PASSWORD": "of the tests"},
        "postgres": {"POSTGRES_DB": "shop", "POSTGRES_PASSWORD": "of the tests"},
    }
    entry = {
        "image": build_image(image),
        "command": ["redis-server", "--enable-debug-command", "local"] if name == "redis" else None,
        "environment": variables.get(name, {}),
        "volumes": [{"type": "bind", "source": str(path), "target": target}],
        "stop_grace_period": "30s",
        "healthcheck": {"test": ["CMD-SHELL", check], "interval": "1s", "retries": 60},
    }
    facts = {"rolled": False, "data": True, "stop_seconds": 30.0}
    return saved.rig.service(name, entry=entry, **facts)


OTHER = "SELECT id FROM other"
ONE_TABLE = "DELETE FROM t WHERE id % 7 = 0; UPDATE other SET id = 2"
LATER = "ALTER TABLE t RENAME COLUMN v TO w"


def test_three_databases_are_as_they_were(saved: Saved) -> None:
    how = {
        "how": "dump",
        "dump": ["moorage-dump"],
        "restore": ["moorage-restore"],
        "census": ["moorage-census"],
    }
    tables = {"restore_tables": ["moorage-restore-tables"]}
    release = saved.rig.release(
        service(saved, "mysql", "mariadb", 10002, "/var/lib/mysql",
                "healthcheck.sh --connect --innodb_initialized"),
        service(saved, "postgres", "postgres", 10004, "/var/lib/postgresql/data",
                "pg_isready --quiet"),
        service(saved, "redis", "redis", 10005, "/data", "healthcheck.sh"),
        services=[
            {
                "name": name,
                "backup": {**how, **(tables if name != "redis" else {}), "volumes": [name]},
            }
            for name in FILL
        ],
        directories=[],
    )  # fmt: skip
    outcome = saved.rig.activate(release, gate_timeout=120.0)
    assert outcome.ok, outcome
    for name, words in FILL.items():
        ask(saved, name, words)
    before = {name: ask(saved, name, words) for name, words in SUM.items()}
    backup = saved.backup()
    assert [part.name for part in saved.set().parts][:3] == [f"dump/{name}" for name in FILL]
    proven = saved.run("prove", saved.stack, "--json")
    assert proven.status == 0, proven.out + proven.err
    details = {part["name"]: part["detail"] for part in proven.json["parts"]}
    assert all("of its census as saved" in details[f"dump/{name}"] for name in FILL), details
    for name, words in SPOIL.items():
        ask(saved, name, words)
    spoilt = {name: ask(saved, name, words) for name, words in SUM.items()}
    assert [name for name in FILL if spoilt[name] == before[name]] == []
    done = saved.restore("--json")
    assert done.status == 0, done
    assert {name: ask(saved, name, words) for name, words in SUM.items()} == before

    # Rows of one table each, and nothing else of all three.
    for name in ("mysql", "postgres"):
        ask(saved, name, ONE_TABLE)
    ask(saved, "redis", "SET later 1")
    two = ("--table", "mysql.t", "--table", "postgres.public.t")
    shown = saved.run("restore", saved.stack, *two, "--dry-run")
    assert shown.status == 0 and "table/postgres.public.t takes the place" in shown.out, shown
    done = saved.restore("--json", "--snapshot", backup, *two)
    assert done.status == 0 and done.json["parts"] == ["table/mysql.t", "table/postgres.public.t"]
    for name in ("mysql", "postgres"):
        assert ask(saved, name, SUM[name]) == before[name]
        assert ask(saved, name, OTHER).split()[-1] == "2"
    assert ask(saved, "redis", "GET later") == "1\n"
    for table in ("mysql.odd `name", 'postgres.odd "name'):
        done = saved.restore("--snapshot", backup, "--table", table, "--dry-run")
        assert done.status == 0 and f"table/{table} takes" in done.out, done
    for asked, why in (
        (("--table", "redis.t"), "does not say how redis gets single tables back"),
        (("--table", "mysql.none"), "mysql has no table none in backup"),
        (("--table", "t"), "is no table of a service with a dump"),
        (("--table", "mysql.t", "--without-backup"), "--table goes by itself"),
    ):
        done = saved.restore("--snapshot", backup, *asked)
        assert done.status == 1 and why in done.err, done
    # What refuses its rows has all that it had, and the other one too.
    ask(saved, "postgres", LATER + "; DELETE FROM t WHERE id < 9")
    now = {name: ask(saved, name, "SELECT COUNT(*) FROM t") for name in ("mysql", "postgres")}
    done = saved.restore("--snapshot", backup, *two)
    assert done.status == 1 and "nothing has been changed" in done.err, done
    assert done.out.splitlines()[-2].startswith("returned: "), done
    assert now == {name: ask(saved, name, "SELECT COUNT(*) FROM t") for name in now}
