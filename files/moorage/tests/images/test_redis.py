"""The Redis image's contract, on a real engine: password, data, snapshots, kills, restores."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from data_server import Container, build_image, docker, wait_until, write_secrets

PASSWORD = "app-'pw'-\"\\$(x)-Geheim"
SECRET = ("--env", "REDIS_PASSWORD_FILE=/run/secrets/app")

# In the container, with the server's own password.
CLIENT = "(. moorage-client; exec redis-cli)"


class Server(Container):  # type: ignore[misc]
    user = "10005:10005"
    data = "/data"
    run = "/run/redis"
    healthy = ("healthcheck.sh",)

    def cli(self, *command: str, password: str | None = PASSWORD) -> str:
        """Return what a client over the network is answered."""
        script = 'read -r REDISCLI_AUTH; export REDISCLI_AUTH; exec redis-cli "$@"'
        if password is None:
            script = 'exec redis-cli "$@"'
        argv = ("bash", "-c", script, "-", "-h", self.address(), "--no-auth-warning", *command)
        done = self.exec(*argv, check=False, stdin=f"{password}\n")
        return str(done.stdout or done.stderr).strip()

    def stop(self) -> None:
        docker("stop", self.name)

    def restore(self, snapshot: bytes) -> Any:
        return self.exec_bytes("moorage-restore", stdin=snapshot, check=False)


@pytest.fixture(scope="module")
def image() -> str:
    return str(build_image("redis"))


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_secrets(tmp_path_factory.mktemp("secrets"), {"app": PASSWORD, "empty": ""}))


@pytest.fixture
def server(image: str, secrets: Path) -> Iterator[Server]:
    made = Server(image, secrets)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def running(image: str, secrets: Path) -> Iterator[Server]:
    """One hardened server, for everything that only looks."""
    made = Server(image, secrets)
    made.start(*SECRET)
    made.wait_healthy()
    yield made
    made.remove()


def test_it_runs_as_its_own_user_without_capabilities(running: Server) -> None:
    status = running.exec("cat", "/proc/1/status").stdout
    assert "Name:\tredis-server" in status
    assert "Uid:\t10005\t10005" in status
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert int(status.split("VmRSS:")[1].split()[0]) < 30_000, "KiB"


def test_only_the_password_lets_in(running: Server) -> None:
    assert running.cli("PING") == "PONG"
    assert "NOAUTH" in running.cli("PING", password=None)
    assert "NOAUTH" in running.cli("PING", password="wrong")
    listed = running.exec("stat", "-c", "%a %u", "/run/redis/password", "/run/redis/password.conf")
    assert listed.stdout.split() == ["600", "10005"] * 2


def test_defaults_keep_what_has_no_time_to_live(running: Server) -> None:
    for name, value in (
        ("appendonly", "yes"),
        ("maxmemory-policy", "volatile-lru"),
        ("maxmemory", "0"),
        ("dir", "/data"),
    ):
        assert running.cli("CONFIG", "GET", name).split() == [name, value]


def test_a_bad_snapshot_is_refused(running: Server) -> None:
    running.cli("SET", "kept", "1")
    running.cli("SET", "bulk", "x" * 2000)
    snapshot = running.exec_bytes("moorage-dump").stdout
    flipped = bytearray(snapshot)
    flipped[len(snapshot) // 2] ^= 1
    packed = gzip.compress(snapshot)
    for bad in (
        b"",
        snapshot[:100],
        snapshot[:-1],
        bytes(flipped),
        b"*1\r\n",
        packed[:-9],
        snapshot + b"x",
    ):
        done = running.restore(bad)
        assert done.returncode == 65, done
        assert b"nothing has changed" in done.stderr
    assert running.files("ls -A").split() == ["appendonlydir"]
    assert running.cli("GET", "kept") == "1"
    assert running.exec("bash", "-c", "moorage-dump > /dev/full", check=False).returncode != 0
    assert running.exec("moorage-dump", "x", check=False).returncode == 64


CONTENT = r"""
MSET a 1 b 喵
RPUSH list a b c
HSET hash x 1 y 2 z 3
SADD set a b c
ZADD sorted 1 a 2.5 b
XADD stream 1-1 field value
SETBIT bits 70000 1
SELECT 7
SET kept 1
FUNCTION LOAD "#!lua name=own\nredis.register_function('answer', function() return 42 end)"
"""
# What goes with time: a key, a field, a hash of such fields alone, a database of such keys alone.
VOLATILE = """
SET short 1 EX 5000
HSET hash short 1
HEXPIRE hash 5000 FIELDS 1 short
HSET short-hash field 1
HEXPIRE short-hash 5000 FIELDS 1 field
SELECT 9
SET short 1 EX 5000
"""


def census(server: Server, snapshot: bytes) -> dict[str, list[str]]:
    """Return keys and checksum of each database."""
    lines = server.exec_bytes("moorage-census", stdin=snapshot).stdout.decode().splitlines()
    assert lines == sorted(lines)
    return {name: rest for name, *rest in (line.split("\t") for line in lines)}


def test_a_census_is_the_same_after_a_restore_and_another_after_any_change(server: Server) -> None:
    server.start(*SECRET)
    server.wait_healthy()

    def tell(commands: str) -> None:
        server.exec("bash", "-c", CLIENT, stdin=commands)

    def counting() -> dict[str, list[str]]:
        return census(server, server.exec_bytes("moorage-dump").stdout)

    tell(CONTENT)
    counted = counting()
    assert {name: rows for name, (rows, _checksum) in counted.items()} == {
        "db0": "8",
        "db7": "1",
        "functions": "1",
    }

    # Keys that have a time to live are told of and not counted.
    tell(VOLATILE)
    snapshot = server.exec_bytes("moorage-dump").stdout
    volatile = census(server, gzip.compress(snapshot))
    assert volatile.pop("db0 (with a time to live)") == ["1", "-"]
    assert volatile.pop("db9 (with a time to live)") == ["1", "-"]
    assert volatile == counted
    assert server.files("ls -A").split() == ["appendonlydir"]

    # Restored, under another encoding.
    server.restore(snapshot)
    server.replace()
    other = ("--hash-max-listpack-entries", "1", "--set-max-listpack-entries", "1")
    server.start(*SECRET, command=("redis-server", *other))
    server.wait_healthy()
    tell("HSET hash other 1\nHDEL hash other\nSADD set d\nSREM set d\n")
    assert server.cli("OBJECT", "ENCODING", "hash") == "hashtable"
    tell("SELECT 9\nDEL short\nSELECT 0\nDEL short short-hash\nHDEL hash short")
    assert counting() == counted

    for change, database in (
        ("SET a 2", "db0"),
        ("HSET hash x 2", "db0"),
        ("LPOP list", "db0"),
        ("XADD stream 1-2 field value", "db0"),
        ("SELECT 7\nDEL kept", "db7"),
        ("SELECT 7\nSET more 1", "db7"),
        ("FUNCTION DELETE own", "functions"),
    ):
        before = counting()
        tell(change)
        after_it = counting()
        assert before.pop(database, None) != after_it.pop(database, None), change
        assert before == after_it


def test_nothing_is_counted_of_a_bad_snapshot(running: Server) -> None:
    running.cli("SET", "bulk", "x" * 2000)
    snapshot = running.exec_bytes("moorage-dump").stdout
    flipped = bytearray(snapshot)
    flipped[len(snapshot) // 2] ^= 1
    for bad in (
        *(b"", snapshot[:100], snapshot[:-1], bytes(flipped), b"*1\r\n", snapshot + b"x"),
        gzip.compress(snapshot)[:-9],
    ):
        done = running.exec_bytes("moorage-census", stdin=bad, check=False)
        assert (done.returncode, done.stdout) == (65, b""), done
        assert b"nothing was counted" in done.stderr
    assert running.files("ls -A").split() == ["appendonlydir"]


def test_where_memory_is_short_the_server_stays_and_nothing_is_counted(server: Server) -> None:
    server.start(*SECRET, "--memory", "80m", "--memory-swap", "80m")
    server.wait_healthy()
    fill = "for n = 1, 40 do redis.call('SET', ARGV[1] .. n, string.rep('x', 100000)) end"
    for part in "abcdefghij":
        server.cli("EVAL", fill, "0", part)
    before = server.cli("INFO", "server").partition("run_id:")[2][:40]

    snapshot = server.exec_bytes("moorage-dump").stdout
    done = server.exec_bytes("moorage-census", stdin=snapshot, check=False)

    assert done.returncode != 0 and not done.stdout, done
    assert server.cli("INFO", "server").partition("run_id:")[2][:40] == before
    assert server.cli("DBSIZE") == "400"
    # What a census leaves that was killed, the next one takes away.
    assert server.exec_bytes("moorage-census", check=False).returncode == 65
    assert server.files("ls -A").split() == ["appendonlydir"]


def test_a_dump_holds_one_moment(running: Server) -> None:
    writing = "while [ ! -e /tmp/enough ]; do printf 'MSET a %s b %s\\n' $((++n)) $n; done"
    name = ("exec", "--detach", "--user", running.user, running.name)
    docker(*name, "bash", "-c", f"{writing} | {CLIENT} > /dev/null")
    other = Server(running.image, running.secrets)
    try:
        counted = lambda: int(running.cli("GET", "a") or 0) > 20  # noqa: E731
        wait_until(counted, "nothing is written")
        snapshot = running.exec_bytes("moorage-dump").stdout
        docker(
            *("run", "--rm", "--interactive", "--volume", f"{other.name}:/data", other.image),
            "moorage-restore",
            stdin=snapshot,
            text=False,
        )
        other.start(*SECRET)
        other.wait_healthy()
        a, b = other.cli("MGET", "a", "b").split()
        assert a == b and int(a) > 20
    finally:
        running.exec("touch", "/tmp/enough")
        other.remove()


def test_the_password_is_in_no_process_and_no_log(server: Server) -> None:
    with server.observed() as (options, seen):
        server.start(*SECRET, *options)
        server.wait_healthy()
        told = seen()
    # The health check's own client has it in its environment, which its user alone can read.
    lines = [line for line in told.splitlines() if not line.startswith("REDISCLI_AUTH=")]
    assert any(line == SECRET[1] for line in lines)
    assert PASSWORD not in "\n".join(lines)
    assert PASSWORD not in server.logs()


def test_a_password_given_as_a_variable_leaves_the_environment(server: Server) -> None:
    server.start("--env", f"REDIS_PASSWORD={PASSWORD}")
    server.wait_healthy()

    assert PASSWORD not in server.exec("cat", "/proc/1/environ").stdout
    assert server.cli("PING") == "PONG"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--env", "REDIS_PASSWORD_FILE=/run/secrets/none"),
            "REDIS_PASSWORD_FILE names /run/secrets/none, which is missing or not readable",
        ),
        (
            ("--env", "REDIS_PASSWORD_FILE=/run/secrets/empty"),
            "REDIS_PASSWORD_FILE names /run/secrets/empty, which is empty",
        ),
        ((*SECRET, "--env", "REDIS_PASSWORD=x"), "are both set: keep one"),
    ],
)
def test_a_wrong_setting_says_what_to_do(
    server: Server, options: tuple[str, ...], message: str
) -> None:
    server.start(*options)

    assert server.wait_exit() == 1
    assert message in server.logs()
    assert server.files("ls -A") == ""


def test_options_and_mounted_files_reach_the_server(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "own.conf").write_text("maxmemory-policy allkeys-lfu\nmaxclients 77\n")
    mounted = ("--volume", f"{tmp_path}:/etc/redis/conf.d:ro")
    server.start("--env", "REDIS_MAXMEMORY=32mb", *mounted, command=("--maxclients", "78"))
    server.wait_healthy()

    # As in the official image, no password lets everybody in; the log says so.
    told = {
        name: server.cli("CONFIG", "GET", name, password=None).split()[1]
        for name in ("maxmemory", "maxmemory-policy", "maxclients")
    }
    assert told == {
        "maxmemory": str(32 << 20),
        "maxmemory-policy": "allkeys-lfu",
        "maxclients": "78",
    }
    assert "no password: whoever reaches the port comes in" in server.logs()


def test_data_survives_stops_and_kills(server: Server) -> None:
    server.start(*SECRET)
    server.wait_healthy()
    server.cli("SET", "kept", "喵")
    server.stop()
    assert docker("inspect", "--format", "{{.State.ExitCode}}", server.name).stdout.strip() == "0"
    server.replace()
    server.start(*SECRET)
    server.wait_healthy()
    server.cli("SET", "more", "1")
    # The log is flushed every second.
    flushed = lambda: "aof_pending_bio_fsync:0" in server.cli("INFO", "persistence")  # noqa: E731
    wait_until(flushed, "not flushed")
    docker("kill", "--signal", "KILL", server.name)
    server.restart()
    server.wait_healthy()

    assert server.exec("bash", "-c", "ls appendonlydir").stdout
    assert server.cli("--raw", "MGET", "kept", "more").split() == ["喵", "1"]


@pytest.mark.parametrize("appendonly", ["yes", "no"])
def test_what_is_dumped_is_there_after_the_next_start(server: Server, appendonly: str) -> None:
    server.start(*SECRET, command=("redis-server", "--appendonly", appendonly))
    server.wait_healthy()
    server.cli("SET", "old", "喵")
    server.cli("-n", "3", "RPUSH", "list", "a", "b")
    server.cli("SET", "short", "1", "EX", "5000")
    snapshot = server.exec_bytes("moorage-dump").stdout
    server.cli("FLUSHALL")
    server.cli("SET", "new", "1")

    assert server.restore(gzip.compress(snapshot)).returncode == 0
    assert server.cli("GET", "new") == "1", "a running server keeps what it has"
    docker("restart", server.name)
    server.wait_healthy()

    assert server.cli("--raw", "GET", "old") == "喵"
    assert server.cli("-n", "3", "LRANGE", "list", "0", "-1").split() == ["a", "b"]
    assert 0 < int(server.cli("TTL", "short")) <= 5000
    assert server.cli("EXISTS", "new") == "0"
    # It is put into place once.
    server.cli("SET", "newer", "1")
    docker("restart", server.name)
    server.wait_healthy()
    assert server.cli("GET", "newer") == "1"
    assert ".restored.rdb" not in server.files("ls -A")


@pytest.mark.parametrize(
    "killed",
    [
        "mkdir .building; touch .building/half",
        "mv appendonlydir .replaced; mkdir .building",
        "mv appendonlydir .replaced; cp -a .replaced appendonlydir",
    ],
)
def test_a_start_that_was_killed_while_it_restored_is_repeated(server: Server, killed: str) -> None:
    server.start(*SECRET)
    server.wait_healthy()
    server.cli("SET", "old", "1")
    snapshot = server.exec_bytes("moorage-dump").stdout
    server.cli("SET", "old", "2")
    server.restore(snapshot)
    docker("kill", "--signal", "KILL", server.name)
    server.files(f"{killed}; chown -R 10005:10005 .")

    server.restart()
    server.wait_healthy()

    assert server.cli("GET", "old") == "1"
    assert server.files("ls -A").split() == ["appendonlydir", "dump.rdb"]


def test_a_snapshot_from_elsewhere_is_not_ignored(server: Server) -> None:
    # As the official image leaves it, which has no append-only file unless it is asked for.
    server.start(*SECRET, command=("--appendonly", "no"))
    server.wait_healthy()
    server.cli("SET", "kept", "1")
    server.stop()
    assert server.files("ls -A").split() == ["dump.rdb"]
    server.replace()

    server.start(*SECRET)
    server.wait_healthy()

    assert server.cli("GET", "kept") == "1"
    assert "becomes the beginning of the append-only file" in server.logs()


def test_somebody_elses_files_are_refused_and_left_alone(server: Server) -> None:
    server.files("echo precious > notes.txt; chown 10005:10005 . notes.txt")
    server.start(*SECRET)

    assert server.wait_exit() == 1
    assert "is not empty either (notes.txt)" in server.logs()
    assert server.files("cat notes.txt") == "precious\n"


def test_a_second_server_of_the_same_data_is_refused(server: Server) -> None:
    server.start(*SECRET)
    server.wait_healthy()
    second = type(server)(server.image, server.secrets)
    second.volume, own = server.volume, second.volume
    try:
        second.start(*SECRET)
        assert second.wait_exit() == 1
        assert "another server works in" in second.logs()
        assert server.is_healthy()
        # One that was killed keeps nobody out.
        docker("kill", "--signal", "KILL", server.name)
        second.restart()
        second.wait_healthy()
    finally:
        second.replace()
        second.volume = own
        second.remove()


def test_a_cache_beyond_its_memory_evicts_no_queue(server: Server) -> None:
    server.start(*SECRET, command=("--maxmemory", "24mb"))
    server.wait_healthy()
    queue = "for n in $(seq 1000); do echo RPUSH queue job-$n; done"
    cache = "for n in $(seq 4000); do echo SET cache-$n $(printf %010000d 0) EX 600; done"
    said = server.exec("bash", "-c", f"({queue}; {cache}) | {CLIENT}").stdout

    assert "OOM" not in said
    assert server.cli("LLEN", "queue") == "1000"
    assert 0 < int(server.cli("DBSIZE")) < 4000


def test_another_command_runs_as_it_is(image: str) -> None:
    assert "v=8." in docker("run", "--rm", image, "redis-server", "--version").stdout
    assert docker("run", "--rm", image, "id", "-u").stdout == "10005\n"


def test_as_root_it_gives_the_volume_away_and_steps_down(server: Server) -> None:
    server.files("touch .not-empty; chown -R 0:0 .; chmod 0755 .")
    server.start("--user", "0", *SECRET, hardened=False)
    server.wait_healthy()

    assert "Uid:\t10005\t10005" in server.exec("cat", "/proc/1/status").stdout


def test_a_volume_of_somebody_else_is_an_error_that_says_what_to_do(server: Server) -> None:
    server.files("touch .not-empty; chown -R 0:0 .; chmod 0755 .")
    server.start(*SECRET)

    assert server.wait_exit() == 1
    assert "/data is not writable by uid 10005: give the directory to" in server.logs()
