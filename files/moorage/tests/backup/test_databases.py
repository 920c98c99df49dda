"""MariaDB, PostgreSQL and Redis as they are: what was in them at the backup is in them again."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from data_server import build_image
from saved import Saved

FILL = {
    "mysql": "CREATE TABLE t (id INT PRIMARY KEY, v VARBINARY(200));"
    "INSERT INTO t SELECT seq, SHA2(seq, 512) FROM seq_1_to_20000",
    "postgres": "CREATE TABLE t (id int PRIMARY KEY, v text);"
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


def test_three_databases_are_as_they_were(saved: Saved) -> None:
    how = {
        "how": "dump",
        "dump": ["moorage-dump"],
        "restore": ["moorage-restore"],
        "census": ["moorage-census"],
    }
    release = saved.rig.release(
        service(saved, "mysql", "mariadb", 10002, "/var/lib/mysql",
                "healthcheck.sh --connect --innodb_initialized"),
        service(saved, "postgres", "postgres", 10004, "/var/lib/postgresql/data",
                "pg_isready --quiet"),
        service(saved, "redis", "redis", 10005, "/data", "healthcheck.sh"),
        services=[{"name": name, "backup": {**how, "volumes": [name]}} for name in FILL],
        directories=[],
    )  # fmt: skip
    outcome = saved.rig.activate(release, gate_timeout=120.0)
    assert outcome.ok, outcome
    for name, words in FILL.items():
        ask(saved, name, words)
    before = {name: ask(saved, name, words) for name, words in SUM.items()}
    saved.backup()
    assert [part.name for part in saved.set().parts][:3] == [f"dump/{name}" for name in FILL]
    proven = saved.run("prove", saved.stack, "--json")
    assert proven.status == 0, proven
    details = {part["name"]: part["detail"] for part in proven.json["parts"]}
    assert all("of its census as saved" in details[f"dump/{name}"] for name in FILL), details
    for name, words in SPOIL.items():
        ask(saved, name, words)
    spoilt = {name: ask(saved, name, words) for name, words in SUM.items()}
    assert [name for name in FILL if spoilt[name] == before[name]] == []
    done = saved.restore("--json")
    assert done.status == 0, done
    assert {name: ask(saved, name, words) for name, words in SUM.items()} == before
