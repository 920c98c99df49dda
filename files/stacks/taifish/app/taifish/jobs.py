"""Jobs: rows of a table are the truth, messages in the broker only ring the bell.

A job's row is inserted in the transaction of what causes it, and its message sent afterwards. Its
effect and its end are one transaction that holds the row's lock, so a job has its effect once
however often it is delivered, and PostgreSQL itself lets go of the lock of a worker that was
killed. `sweep`, which beat sends every ten seconds, rings again for rows that nobody is at.

`python3 -m taifish.jobs enqueue-test COUNT` queues jobs that count; `… status` prints figures.
"""

import json
import logging
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any

import redis
from kombu.exceptions import OperationalError as BrokerError
from psycopg.types.json import Jsonb

from moorage.application.environment import ConfigurationError
from taifish import broker, db
from taifish.config import BROKER, SESSIONS, Config
from taifish.db import Database

LAST_BEAT = "beat:last"
_log = logging.getLogger(__name__)

# Which rows nobody rings for any more. `running` and not locked: its worker is gone. `queued`,
# handed to the broker, and the queue is empty: the message was lost. A queue that is never empty
# hides those, so after ten minutes they are sent again in any case; twice does no harm.
_LOST = """
UPDATE jobs SET published_at = now() WHERE key IN (
  SELECT key FROM jobs WHERE
    state = 'running' AND started_at < now() - interval '5 s'
    OR state = 'queued' AND run_after <= now() AND (
      published_at IS NULL
      OR published_at < now() - CASE WHEN %(idle)s THEN interval '15 s' ELSE interval '10 min' END)
  ORDER BY created_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING key
"""


class Queue:
    """Sends messages and counts them."""

    def __init__(self, config: Config) -> None:
        """Connect to nothing yet."""
        self._app = broker.make_celery(config)
        # Who sends has somebody waiting: one try.
        self._app.conf.broker_transport_options |= {"max_retries": 0, "interval_start": 0}
        self._redis = connect(config, BROKER)

    def send(self, keys: Iterable[str]) -> None:
        """Ring for these jobs; raises kombu's OperationalError."""
        with self._app.producer_or_acquire() as producer:
            for key in keys:
                self._app.send_task(broker.RUN, [key], queue=broker.JOBS, producer=producer)

    def length(self) -> int:
        """Return how many messages wait; raises redis.RedisError."""
        return int(self._redis.llen(broker.JOBS))


def connect(config: Config, number: int) -> Any:
    """Return a client of one of Redis' databases. A lost server is an error within seconds."""
    return redis.Redis.from_url(
        config.redis_url(number),
        decode_responses=True,
        socket_timeout=3,
        socket_connect_timeout=3,
        health_check_interval=30,
    )


def enqueue(connection: db.Connection, key: str, kind: str, **payload: object) -> bool:
    """Insert a job into the caller's transaction; False when there is one with this key already."""
    return bool(
        connection.execute(
            "INSERT INTO jobs (key, kind, payload, published_at) VALUES (%s, %s, %s, now())"
            " ON CONFLICT DO NOTHING",
            [key, kind, Jsonb(payload)],
        ).rowcount
    )


def publish(database: Database, queue: Queue, keys: list[str]) -> None:
    """Ring for jobs whose transaction is committed. A broker that is away loses none."""
    try:
        queue.send(keys)
    except (BrokerError, redis.RedisError, OSError) as error:
        _log.warning("the broker does not answer, beat will send %d jobs: %s", len(keys), error)
        database.run(
            "UPDATE jobs SET published_at = NULL WHERE state = 'queued' AND key = ANY(%s)", [keys]
        )


def sweep(database: Database, queue: Queue) -> int:
    """Ring again for what was lost and for what is due; return how many."""
    idle = queue.length() == 0
    with database.transaction() as connection:
        found = connection.execute(_LOST, {"idle": idle}).fetchall()
    # After the commit: whoever hears the bell has to find the row free.
    publish(database, queue, [row["key"] for row in found])
    return len(found)


def retry(database: Database, queue: Queue, key: str) -> bool:
    """Begin a failed job anew; False when there is no failed job of this key."""
    changed = database.run(
        "UPDATE jobs SET state = 'queued', attempts = 0, run_after = now(), published_at = now()"
        " WHERE key = %s AND state = 'failed'",
        [key],
    )
    if changed:
        publish(database, queue, [key])
    return bool(changed)


Effect = Callable[[db.Connection, Config, Mapping[str, Any]], None]


def run(database: Database, config: Config, effects: Mapping[str, Effect], key: str) -> None:
    """Do a job that is due and that nobody else is at; otherwise nothing.

    What the effect raises is noted in the row, and the job is tried again later, at most
    `job_attempts` times. Raises psycopg's errors when the database is away: sweep comes back.
    """
    if not _begin(database, config, key):
        return
    try:
        with database.transaction() as connection:
            row = connection.execute(
                "SELECT kind, payload FROM jobs WHERE key = %s AND state = 'running'"
                " FOR UPDATE SKIP LOCKED",
                [key],
            ).fetchone()
            if row is None:
                return
            effects[row["kind"]](connection, config, row["payload"])
            connection.execute(
                "UPDATE jobs SET state = 'done', error = '', ended_at = now() WHERE key = %s",
                [key],
            )
    except db.Unavailable:
        raise
    except Exception as error:
        _log.warning("job %s: %s: %s", key, type(error).__name__, error)
        _failed(database, config, key, f"{type(error).__name__}: {error}")


def _begin(database: Database, config: Config, key: str) -> bool:
    # In a transaction of its own, so that a try that kills its worker counts as well.
    with database.transaction() as connection:
        row = connection.execute(
            "SELECT attempts FROM jobs WHERE key = %s AND state IN ('queued', 'running')"
            " AND run_after <= now() FOR UPDATE SKIP LOCKED",
            [key],
        ).fetchone()
        if row is None:
            return False
        if row["attempts"] >= config.job_attempts:
            connection.execute(
                "UPDATE jobs SET state = 'failed', ended_at = now(), error = %s WHERE key = %s",
                [f"given up after {row['attempts']} tries: its worker was lost each time", key],
            )
            return False
        connection.execute(
            "UPDATE jobs SET state = 'running', attempts = attempts + 1, started_at = now()"
            " WHERE key = %s",
            [key],
        )
        return True


def _failed(database: Database, config: Config, key: str, error: str) -> None:
    database.run(
        "UPDATE jobs SET error = %(error)s, ended_at = now(), published_at = NULL,"
        " state = CASE WHEN attempts >= %(limit)s THEN 'failed' ELSE 'queued' END,"
        " run_after = now() + attempts * %(seconds)s * interval '1 s'"
        " WHERE key = %(key)s AND state = 'running'",
        {
            "error": error.replace("\0", "")[:1000],
            "limit": config.job_attempts,
            "seconds": config.job_retry_seconds,
            "key": key,
        },
    )


def enqueue_test(database: Database, queue: Queue, count: int) -> None:
    """Queue jobs that each add one to a counter, in about ten milliseconds."""
    batch = uuid.uuid4().hex[:12]
    with database.transaction() as connection:
        found = connection.execute(
            "INSERT INTO jobs (key, kind, published_at)"
            " SELECT 'tally:' || %s || ':' || n, 'tally', now() FROM generate_series(1, %s) n"
            " RETURNING key",
            [batch, count],
        ).fetchall()
    publish(database, queue, [row["key"] for row in found])


def status(database: Database, config: Config, queue: Queue) -> dict[str, Any]:
    """Return how many jobs are in which state, and when beat was last seen (UTC)."""
    counted = {r["state"]: r["n"] for r in database.rows(
        "SELECT state, count(*) AS n FROM jobs GROUP BY state"
    )}  # fmt: skip
    states = {name: counted.get(name, 0) for name in ("queued", "running", "done", "failed")}
    tally = database.value("SELECT value FROM counters WHERE name = 'tally'")
    return {
        **states,
        "tally": tally,
        "queue_length": queue.length(),
        "last_beat": connect(config, SESSIONS).get(LAST_BEAT),
    }


def main(arguments: list[str]) -> int:
    """Queue test jobs or print figures; return the exit status."""
    try:
        config = Config.from_environment()
        with closing(Database(config, size=1)) as database:
            queue = Queue(config)
            match arguments:
                case ["enqueue-test", count] if count.isascii() and count.isdigit():
                    enqueue_test(database, queue, int(count))
                case ["status"]:
                    pass
                case _:
                    usage = "usage: python3 -m taifish.jobs enqueue-test COUNT | status"
                    print(usage, file=sys.stderr)
                    return 2
            print(json.dumps(status(database, config, queue)))
    except (ConfigurationError, *db.Unavailable, redis.RedisError) as error:
        print(f"cannot reach the jobs: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
