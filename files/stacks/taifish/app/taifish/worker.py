"""What `celery --app taifish.worker worker` and `… beat` run.

Both show that they live by touching a file (HEARTBEAT_FILE): the worker from its event loop while
it is connected to the broker, beat from each turn of its own.
"""

import logging
import os
import signal
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import redis
from celery import bootsteps
from celery.beat import PersistentScheduler
from celery.signals import worker_process_init, worker_process_shutdown

from moorage.application import probe
from taifish import broker, db, files, jobs, work
from taifish.config import SESSIONS, Config
from taifish.db import Database

_BEAT_SECONDS = 5.0
_log = logging.getLogger(__name__)

config = Config.from_environment()
app = broker.make_celery(config)
app.conf.worker_concurrency = int(os.environ.get("WORKER_CONCURRENCY", "") or "2")
files.prepare(config.data)
_heartbeat = probe.heartbeat_file()


@cache
def _database() -> Database:
    # Made by whoever asks first, after the fork: processes share no connection.
    return Database(config, size=2, statement_seconds=broker.HARD_SECONDS)


@cache
def _queue() -> jobs.Queue:
    return jobs.Queue(config)


def _run(key: str) -> None:
    try:
        jobs.run(_database(), config, work.EFFECTS, key)
    except db.Unavailable as error:
        # The row is as it was; sweep rings again once the database is back.
        _log.warning("job %s waits for the database: %s", key, error)


def _sweep() -> None:
    try:
        jobs.sweep(_database(), _queue())
    except (*db.Unavailable, redis.RedisError) as error:
        _log.warning("the sweep is put off: %s", error)


def _daily() -> None:
    """Queue what is due once a day; the day is in the key, so asking often does no harm."""
    today = datetime.now(UTC).date()
    wanted = {f"digest:{today - timedelta(1)}": "digest", f"cleanup:{today}": "cleanup"}
    try:
        with _database().transaction() as connection:
            added = [
                key
                for key, kind in wanted.items()
                if jobs.enqueue(connection, key, kind, day=key.partition(":")[2])
            ]
        jobs.publish(_database(), _queue(), added)
    except db.Unavailable as error:
        _log.warning("what is due daily is put off: %s", error)


app.task(name=broker.RUN)(_run)
app.task(name="taifish.sweep")(_sweep)
app.task(name="taifish.daily")(_daily)


def _touch() -> None:
    _heartbeat.touch()


class Heartbeat(bootsteps.StartStopStep):  # type: ignore[misc]
    """Touches the file while the worker's loop turns and its consumer is connected."""

    requires = {"celery.worker.consumer.tasks:Tasks"}  # noqa: RUF012 - as Celery has it

    def start(self, consumer: Any) -> None:
        """Begin, also after each lost connection."""
        _touch()
        self._entry = consumer.timer.call_repeatedly(_BEAT_SECONDS, _touch)

    def stop(self, consumer: Any) -> None:
        """End: nothing is consumed."""
        self._entry.cancel()


app.steps["consumer"].add(Heartbeat)


class Scheduler(PersistentScheduler):  # type: ignore[misc]
    """Celery's own, which also shows that it lives and when it last sent something."""

    def tick(self, *arguments: Any, **options: Any) -> Any:
        """Send what is due; return the seconds until the next turn."""
        _touch()
        return super().tick(*arguments, **options)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send one entry and note when."""
        super().apply_entry(entry, producer)
        try:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            _sessions().set(jobs.LAST_BEAT, now)
        except redis.RedisError as error:
            _log.warning("cannot note that beat has run: %s", error)


@cache
def _sessions() -> Any:
    return jobs.connect(config, SESSIONS)


@worker_process_init.connect(weak=False)  # type: ignore[untyped-decorator]
def _begin(**_: object) -> None:
    # Whoever signals the whole group (a terminal, a careless kill) ends the worker, which lets its
    # processes finish; they themselves do not drop what they are at.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@worker_process_shutdown.connect(weak=False)  # type: ignore[untyped-decorator]
def _end(**_: object) -> None:
    if _database.cache_info().currsize:
        _database().close()
