"""Jobs in real Celery workers: what they do, and that neither crash nor full cache loses one."""

import csv
import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from PIL import Image
from psycopg.types.json import Jsonb
from taifish import broker, files, jobs, work
from taifish.config import BROKER, CACHE, Config
from taifish.db import Database
from taifish.jobs import Queue
from taifish_rig import Mailbox, Process, Servers, beat, eventually, worker


@pytest.fixture
def running(environment: dict[str, str], tmp_path: Path) -> Iterator[Process]:
    """A worker whose jobs fail at once for good."""
    made = worker(tmp_path, environment, JOB_ATTEMPTS="1")
    yield made
    made.kill()


def state(database: Database, kind: str) -> str:
    """The state of the newest job of a kind."""
    return str(
        database.value(
            "SELECT state FROM jobs WHERE kind = %s ORDER BY created_at DESC LIMIT 1", [kind]
        )
    )


def insert(
    database: Database, queue: Queue, key: str, kind: str = "tally", **payload: object
) -> None:
    with database.transaction() as connection:
        assert jobs.enqueue(connection, key, kind, **payload)
    jobs.publish(database, queue, [key])


def test_a_thumbnail_a_mail_and_an_export(
    running: Process,
    visitor: Callable[..., FlaskClient],
    enter: Callable[..., int],
    member: FlaskClient,
    database: Database,
    mailbox: Mailbox,
) -> None:
    out = io.BytesIO()
    Image.new("RGB", (1600, 900), "teal").save(out, "PNG")
    form = {"title": "=1+1", "body": " @SUM(A1)", "picture": (io.BytesIO(out.getvalue()), "x.png")}
    where = member.post("/b/lobby/posts", data=form).location
    thumb = eventually(lambda: database.value("SELECT thumb FROM posts"), running.text())
    small = member.get(f"/thumbs/{thumb}")
    assert small.content_type == "image/webp"
    assert Image.open(io.BytesIO(small.data)).size == (480, 270)

    bob = visitor()
    assert enter(bob, "/signup", "Bob", email="bob@example.com") == 303
    bob.post(f"{where}/comments", data={"body": "Fine"})
    # One's own comment is no news.
    member.post(f"{where}/comments", data={"body": "Thanks"})
    eventually(lambda: state(database, "notification") == "done", running.text())
    eventually(lambda: mailbox.mails, running.text())
    (mail,) = mailbox.mails
    assert mail["To"] == "alice@example.com" and "=1+1" in mail["Subject"]
    assert f"https://board.example.com{where}" in mail.get_content()
    assert database.rows("SELECT mailed FROM notifications") == [{"mailed": True}]

    export = member.post("/b/lobby/exports").location
    as_json = {"Accept": "application/json"}
    found = eventually(
        lambda: (member.get(export, headers=as_json).json or {}).get("download"), running.text()
    )
    answer = member.get(found)
    assert answer.content_type.startswith("text/csv") and "lobby.csv" in str(answer.headers)
    row = next(csv.DictReader(io.StringIO(answer.data.decode("utf-8-sig"))))
    assert (row["title"], row["body"], row["comments"]) == ("'=1+1", "'@SUM(A1)", "2")


def test_no_cell_is_a_formula() -> None:
    for text in ("=1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "＝1"):
        assert work.cell(text).startswith("'")
    assert [work.cell(v) for v in (1, None, "a=1", "")] == ["1", "", "a=1", ""]


def test_a_failed_job_is_shown_and_retried(
    running: Process, admin: FlaskClient, database: Database, queue: Queue, mailbox: Mailbox
) -> None:
    post = database.value(
        "INSERT INTO posts (board_id, user_id, title, body, picture)"
        " SELECT b.id, u.id, 'x', 'x', 'gone.png' FROM boards b, users u RETURNING id"
    )
    insert(database, queue, "thumbnail:1", "thumbnail", post=post)
    eventually(lambda: state(database, "thumbnail") == "failed", running.text())
    page = admin.get("/admin").text
    assert "FileNotFoundError" in page and "/admin/jobs/thumbnail:1/retry" in page
    database.run("UPDATE posts SET picture = ''")
    assert admin.post("/admin/jobs/thumbnail:1/retry").status_code == 303
    eventually(lambda: state(database, "thumbnail") == "done", running.text())
    assert admin.post("/admin/jobs/thumbnail:1/retry").status_code == 404

    assert admin.post("/admin/mail-test", data={"to": "me@example.com"}).status_code == 303
    eventually(lambda: mailbox.mails, running.text())
    assert mailbox.mails[0]["To"] == "me@example.com"


def test_what_a_worker_says_of_the_password(running: Process, config: Config) -> None:
    assert config.redis_password not in running.text()
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert config.redis_password.encode() not in found.read_bytes()
        except OSError:
            continue


def test_a_killed_worker_loses_no_job_and_does_none_twice(
    environment: dict[str, str], config: Config, database: Database, queue: Queue, tmp_path: Path
) -> None:
    ticking = beat(tmp_path, environment)
    victim = worker(tmp_path, environment, WORKER_CONCURRENCY="4")
    total = 0

    def under_way() -> bool:
        # However late this one looks, there is more to do.
        nonlocal total
        done = int(jobs.status(database, config, queue)["done"])
        if total - done < 500:
            jobs.enqueue_test(database, queue, 500)
            total += 500
        return done > 50

    try:
        eventually(under_way, victim.text())
        victim.kill()
        before = jobs.status(database, config, queue)
        assert before["done"] < total and before["tally"] == before["done"]
        # As if the time had passed after which beat's sweep holds them for lost.
        database.run(
            "UPDATE jobs SET published_at = published_at - interval '20 s',"
            " started_at = started_at - interval '20 s' WHERE state <> 'done'"
        )
        victim = worker(tmp_path, environment, WORKER_CONCURRENCY="4")
        eventually(
            lambda: jobs.status(database, config, queue)["done"] == total,
            f"{jobs.status(database, config, queue)} {victim.text()} {ticking.text()}",
        )
        found = jobs.status(database, config, queue)
        assert (found["tally"], found["failed"], found["queued"]) == (total, 0, 0)
        assert found["last_beat"]
        # Delivered once more, after the end: nothing happens.
        keys = [row["key"] for row in database.rows("SELECT key FROM jobs WHERE kind = 'tally'")]
        queue.send(keys[:50])
        eventually(lambda: queue.length() == 0, victim.text())
        insert(database, queue, "last")
        eventually(
            lambda: database.value("SELECT state FROM jobs WHERE key = 'last'") == "done", ""
        )
        assert database.value("SELECT value FROM counters") == total + 1
    finally:
        victim.kill()
        ticking.kill()


def test_a_killed_child_loses_no_job(
    environment: dict[str, str], database: Database, queue: Queue, tmp_path: Path
) -> None:
    made = worker(tmp_path, environment, WORKER_CONCURRENCY="1")
    try:
        insert(database, queue, "long", seconds=2)
        eventually(lambda: state(database, "tally") == "running", made.text())
        (child,) = made.children()
        os.kill(child, signal.SIGKILL)
        # Celery puts the message back at once; no beat runs here.
        eventually(lambda: state(database, "tally") == "done", made.text())
        assert database.row("SELECT attempts FROM jobs") == {"attempts": 2}
        assert database.value("SELECT value FROM counters") == 1
    finally:
        made.kill()


def test_a_stop_lets_the_running_job_end(
    environment: dict[str, str], database: Database, queue: Queue, tmp_path: Path
) -> None:
    made = worker(tmp_path, environment, WORKER_CONCURRENCY="1")
    insert(database, queue, "long", seconds=2)
    insert(database, queue, "waiting")
    eventually(
        lambda: database.value("SELECT state FROM jobs WHERE key = 'long'") == "running",
        made.text(),
    )
    made.terminate()
    assert made.wait() == 0
    found = {r["key"]: r["state"] for r in database.rows("SELECT key, state FROM jobs")}
    assert found == {"long": "done", "waiting": "queued"}
    # What it had fetched and not begun is back in the queue.
    assert queue.length() == 1


def test_a_full_cache_evicts_no_job_and_no_session(
    member: FlaskClient, servers: Servers, database: Database, queue: Queue
) -> None:
    jobs.enqueue_test(database, queue, 1000)
    cache, memory = servers.redis(CACHE), servers.redis(BROKER)
    before = memory.info("stats")["evicted_keys"]
    with cache.pipeline(transaction=False) as pipe:
        for number in range(600):
            pipe.set(f"page:{number}", os.urandom(50_000).hex(), ex=600)
        pipe.execute()
    assert memory.info("stats")["evicted_keys"] > before, "the cache was not full"
    assert cache.dbsize() < 600
    assert queue.length() == 1000
    waiting = {json.loads(m)["headers"]["id"] for m in memory.lrange(broker.JOBS, 0, -1)}
    assert len(waiting) == 1000
    assert memory.exists(broker.BEAT) == 0, "messages go into one queue alone"
    assert member.get("/account").status_code == 200


def test_jobs_that_nobody_was_told_of_are_found(
    database: Database, queue: Queue, servers: Servers
) -> None:
    jobs.enqueue_test(database, queue, 3)
    servers.redis(BROKER).flushdb()
    assert jobs.sweep(database, queue) == 0, "they may be on their way"
    database.run("UPDATE jobs SET published_at = now() - interval '20 s'")
    assert jobs.sweep(database, queue) == 3
    assert queue.length() == 3
    assert jobs.sweep(database, queue) == 0
    # Somebody is at one of them, and another is put off.
    database.run(
        "UPDATE jobs SET state = 'running', started_at = now() - interval '1 min',"
        " published_at = now() - interval '1 hour'"
    )
    with database.transaction() as connection:
        connection.execute("SELECT 1 FROM jobs ORDER BY key LIMIT 1 FOR UPDATE")
        assert jobs.sweep(database, queue) == 2


def test_a_broker_that_is_away_keeps_nobody_from_posting(
    database: Database, config: Config, queue: Queue
) -> None:
    import dataclasses

    away = Queue(dataclasses.replace(config, redis_port=1))
    insert(database, away, "kept")
    assert database.value("SELECT published_at FROM jobs") is None
    assert jobs.sweep(database, queue) == 1


def test_a_job_that_fails_waits_and_is_given_up(database: Database, config: Config) -> None:
    database.run("INSERT INTO jobs (key, kind) VALUES ('k', 'mail-test')")
    for attempt in range(1, config.job_attempts + 1):
        jobs.run(database, config, {}, "k")
        row = database.row("SELECT *, run_after > now() AS waits FROM jobs")
        assert row is not None and row["attempts"] == attempt and "KeyError" in row["error"]
        assert row["waits"]
        assert row["state"] == ("failed" if attempt == config.job_attempts else "queued")
        # Not yet due: nothing happens.
        jobs.run(database, config, {}, "k")
        assert database.value("SELECT attempts FROM jobs") == attempt
        database.run("UPDATE jobs SET run_after = now()")


def test_a_job_that_kills_its_worker_is_given_up(database: Database, config: Config) -> None:
    database.run(
        "INSERT INTO jobs (key, kind, state, attempts) VALUES ('k', 'tally', 'running', %s)",
        [config.job_attempts],
    )
    jobs.run(database, config, work.EFFECTS, "k")
    row = database.row("SELECT state, error FROM jobs")
    assert row is not None and row["state"] == "failed" and "worker was lost" in row["error"]


def test_what_is_due_daily_is_done_once(
    config: Config, database: Database, mailbox: Mailbox, tmp_path: Path
) -> None:
    import dataclasses

    mailed = dataclasses.replace(config, admin_mail="boss@example.com")
    files.prepare(config.data)
    for key, kind, payload in (
        ("a", "digest", {"day": "2026-01-02"}),
        ("b", "digest", {"day": "2026-01-02"}),
        ("c", "cleanup", {}),
    ):
        database.run(
            "INSERT INTO jobs (key, kind, payload) VALUES (%s, %s, %s)", [key, kind, Jsonb(payload)]
        )
        jobs.run(database, mailed, work.EFFECTS, key)
    assert [r["state"] for r in database.rows("SELECT state FROM jobs")] == ["done"] * 3
    assert database.value("SELECT count(*) FROM digests") == 1
    assert [m["To"] for m in mailbox.mails] == ["boss@example.com"]


def test_an_upload_goes_only_when_no_row_has_named_it_for_a_month(
    config: Config, database: Database
) -> None:
    files.prepare(config.data)
    upload, mark = (config.data / folder / "picture.png" for folder in ("uploads", "unnamed"))
    month_ago = (time.time() - 31 * 86400,) * 2
    upload.write_bytes(b"x")
    os.utime(upload, month_ago)

    def clean() -> None:
        with database.transaction() as connection:
            work.cleanup(connection, config, {})

    # A database of an older backup does not know it yet.
    clean()
    assert upload.exists()
    os.utime(mark, month_ago)
    database.run("INSERT INTO users (name, shown, password_hash) VALUES ('a', 'a', '')")
    database.run(
        "INSERT INTO posts (board_id, user_id, title, body, picture)"
        " SELECT b.id, u.id, 'x', 'x', 'picture.png' FROM boards b, users u LIMIT 1"
    )
    # And the way back does.
    clean()
    assert upload.exists() and not mark.exists()
    database.run("DELETE FROM posts")
    clean()
    os.utime(mark, month_ago)
    clean()
    assert not upload.exists() and not mark.exists()


def test_the_command_line(environment: dict[str, str], tmp_path: Path) -> None:
    for arguments, status in (
        (("enqueue-test", "3"), 0),
        (("enqueue-test", "many"), 2),
    ):
        done = Process(tmp_path, environment, "-m", "taifish.jobs", *arguments)
        assert done.wait() == status, done.text()
        if status == 0:
            found = json.loads(done.text())
            assert found == {
                "queued": 3, "running": 0, "done": 0, "failed": 0, "tally": 0,
                "queue_length": 3, "last_beat": None,
            }  # fmt: skip
