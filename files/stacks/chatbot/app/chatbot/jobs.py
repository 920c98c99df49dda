"""Jobs: rows of a table, which workers take one at a time.

What causes a job inserts its row in the same transaction. A worker takes it in one transaction,
which counts the try and gives it a lease, and does it in another, which holds the row, has the
effect and ends the job. So an effect is there once or not at all, whenever a worker is killed. A
lease that ran out on a row that nobody holds is a lost worker: the job is begun anew. PostgreSQL
skips rows that are held (SKIP LOCKED); in SQLite one writes at a time.

`python3 -m chatbot.jobs enqueue-test COUNT` queues jobs that count; `… status` prints figures.
"""

import json
import logging
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from chatbot import db
from chatbot.config import Config
from chatbot.db import Connection, Database, Row
from moorage.application.environment import ConfigurationError

_log = logging.getLogger(__name__)
_DUE = (
    "SELECT * FROM jobs WHERE state = 'queued' AND run_after <= %s"
    " OR state = 'running' AND lease_until < %s ORDER BY created_at, key LIMIT 1"
)
_MINE = (
    "SELECT key FROM jobs WHERE key = %s AND state = 'running' AND worker = %s AND attempts = %s"
)
Effect = Callable[[Connection, Config, Mapping[str, Any]], None]


class TooLong(Exception):
    """A job took longer than JOB_SECONDS."""


def enqueue(connection: Connection, key: str, kind: str, **payload: object) -> bool:
    """Insert a job into the caller's transaction; False when there is one with this key already."""
    return bool(
        connection.run(
            "INSERT INTO jobs (key, kind, payload, created_at) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            [key, kind, json.dumps(payload), time.time()],
        )
    )


def take(database: Database, config: Config, worker: str) -> Row | None:
    """Take the oldest job that is due and that nobody is at, if there is one.

    One that has been tried too often is given up instead.
    """
    now = time.time()
    with database.transaction() as connection:
        lock = "" if connection.sqlite else " FOR UPDATE SKIP LOCKED"
        row = connection.row(_DUE + lock, [now, now])
        if row is None:
            return None
        if row["attempts"] >= config.job_attempts:
            error = f"given up after {row['attempts']} tries: its worker was lost each time"
            connection.run(
                "UPDATE jobs SET state = 'failed', ended_at = %s, error = %s WHERE key = %s",
                [now, error, row["key"]],
            )
            return None
        return connection.row(
            "UPDATE jobs SET state = 'running', attempts = attempts + 1, worker = %s,"
            " lease_until = %s WHERE key = %s RETURNING *",
            [worker, now + config.lease_seconds, row["key"]],
        )


def perform(database: Database, config: Config, effects: Mapping[str, Effect], job: Row) -> None:
    """Do a job that was taken, unless its lease has gone to somebody else meanwhile.

    What the effect raises is noted in the row, and the job is tried again later, at most
    `job_attempts` times. Raises db.Unavailable when the database is away: the lease runs out.
    """
    mine = [job["key"], job["worker"], job["attempts"]]
    try:
        with _at_most(config.job_seconds), database.transaction() as connection:
            lock = "" if connection.sqlite else " FOR UPDATE"
            held = connection.row(_MINE + lock, mine)
            if held is None:
                return
            effects[job["kind"]](connection, config, json.loads(job["payload"]))
            connection.run(
                "UPDATE jobs SET state = 'done', error = '', ended_at = %s WHERE key = %s",
                [time.time(), job["key"]],
            )
    except db.Unavailable:
        raise
    except Exception as error:
        _log.warning("job %s: %s: %s", job["key"], type(error).__name__, error)
        text = f"{type(error).__name__}: {error}".replace("\0", "")[:1000]
        last = job["attempts"] >= config.job_attempts
        now = time.time()
        database.run(
            "UPDATE jobs SET error = %s, ended_at = %s, state = %s, run_after = %s"
            " WHERE key = %s AND state = 'running' AND worker = %s AND attempts = %s",
            [
                text,
                now,
                "failed" if last else "queued",
                now + job["attempts"] * config.job_retry_seconds,
                *mine,
            ],
        )


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def stop(_signal: int, _frame: object) -> None:
        raise TooLong(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def retry(database: Database, key: str) -> bool:
    """Begin a failed job anew; False when there is no failed job of this key."""
    return bool(
        database.run(
            "UPDATE jobs SET state = 'queued', attempts = 0, run_after = 0"
            " WHERE key = %s AND state = 'failed'",
            [key],
        )
    )


def enqueue_test(database: Database, count: int) -> None:
    """Queue jobs that each add one to a counter, in about ten milliseconds."""
    batch = uuid.uuid4().hex[:12]
    with database.transaction() as connection:
        for number in range(count):
            enqueue(connection, f"tally:{batch}:{number}", "tally")


def status(database: Database) -> dict[str, Any]:
    """Return how many jobs are in which state."""
    counted = {
        row["state"]: row["n"]
        for row in database.rows("SELECT state, count(*) AS n FROM jobs GROUP BY state")
    }
    states = {name: counted.get(name, 0) for name in ("queued", "running", "done", "failed")}
    return {**states, "tally": database.value("SELECT value FROM counters WHERE name = 'tally'")}


def main(arguments: list[str]) -> int:
    """Queue test jobs or print figures; return the exit status."""
    try:
        with closing(Database(Config.from_environment(), size=1)) as database:
            match arguments:
                case ["enqueue-test", count] if count.isascii() and count.isdigit():
                    enqueue_test(database, int(count))
                case ["status"]:
                    pass
                case _:
                    usage = "usage: python3 -m chatbot.jobs enqueue-test COUNT | status"
                    print(usage, file=sys.stderr)
                    return 2
            print(json.dumps(status(database)))
    except (ConfigurationError, *db.Unavailable) as error:
        print(f"cannot reach the jobs: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
