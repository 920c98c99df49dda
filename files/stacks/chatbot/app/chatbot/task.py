"""`python3 -m chatbot.task`: a worker. There may be any number of them, and all are equal.

Each shows that it lives by touching a file of its own (probe.heartbeat_file) between jobs. Told to
stop (SIGTERM), it ends the job that it is at.
"""

import logging
import os
import select
import signal
import socket
import sys
import time
from datetime import UTC, datetime

from chatbot import db, jobs, work
from chatbot.config import Config
from chatbot.db import Database
from moorage.application import probe
from moorage.application.environment import ConfigurationError

_log = logging.getLogger("chatbot.task")
_IDLE_SECONDS = 1.0
_DAILY_SECONDS = 60.0


class Stop:
    """Whether we are told to stop; unlike threading's Event, safe to set in a signal's handler."""

    def __init__(self) -> None:
        """Nobody has told us yet."""
        self._read, self._write = os.pipe()

    def set(self, *_: object) -> None:
        """Stop."""
        os.write(self._write, b"x")

    def wait(self, seconds: float = 0.0) -> bool:
        """Wait at most that long; say whether we are to stop."""
        return bool(select.select([self._read], [], [], seconds)[0])


def daily(database: Database) -> None:
    """Queue what is due once a day; every worker asks, and the first one has it queued."""
    today = datetime.now(UTC).date()
    wanted = work.due(today)
    marks = ", ".join(["%s"] * len(wanted))
    there = database.rows(f"SELECT key FROM jobs WHERE key IN ({marks})", list(wanted))  # noqa: S608
    missing = wanted.keys() - {row["key"] for row in there}
    if not missing:
        return
    with database.transaction() as connection:
        for key in sorted(missing):
            jobs.enqueue(connection, key, wanted[key], day=key.partition(":")[2])


def serve(config: Config, stop: Stop) -> None:
    """Take jobs and do them until we are to stop."""
    database = Database(config, size=2, statement_seconds=config.job_seconds)
    heartbeat = probe.heartbeat_file()
    replica = os.environ.get("PROCESS_SUPERVISOR_NAME", "")
    worker = ":".join(filter(None, (socket.gethostname(), replica, str(os.getpid()))))
    looked = -_DAILY_SECONDS
    _log.info("%s takes jobs", worker)
    while not stop.wait():
        heartbeat.touch()
        job = None
        try:
            if time.monotonic() - looked >= _DAILY_SECONDS:
                daily(database)
                looked = time.monotonic()
            job = jobs.take(database, config, worker)
            if job is not None:
                jobs.perform(database, config, work.EFFECTS, job)
        except db.Unavailable as error:
            _log.warning("waits for the database: %s: %s", type(error).__name__, error)
            job = None
        if job is None:
            stop.wait(_IDLE_SECONDS)
    database.close()
    _log.info("%s has ended its last job", worker)


def main() -> int:
    """Serve until SIGTERM; return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop.set)
    try:
        serve(Config.from_environment(), stop)
    except ConfigurationError as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
