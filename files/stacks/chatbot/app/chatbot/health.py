"""/health for those who route requests here, /health/live for who would restart us, figures."""

import json
import socket
from collections import Counter as Count
from collections.abc import Iterable
from typing import Any

from flask import Blueprint, Response, jsonify
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from chatbot import db, jobs
from chatbot.site import site

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
def health() -> tuple[Response, int]:
    """Return 200 while the database answers, else 503."""
    try:
        # A table of ours: a database that was never migrated is none.
        site().database.value("SELECT value FROM counters WHERE name = 'tally'")
    except db.Unavailable + db.NotMigrated:
        found = jsonify(status="failing", version=site().config.version, database="unreachable")
        return found, 503
    site().seen = True
    return jsonify(status="ok", version=site().config.version, database="ok"), 200


@blueprint.get("/health/live")
def live() -> tuple[Response, int]:
    """Return 200 once the database has answered for the first time, whatever it does later.

    A new release that cannot reach its database must not pass for healthy; one that could, must
    not be restarted because the database is away, as that mends nothing.
    """
    if site().seen:
        return jsonify(status="ok", version=site().config.version), 200
    return health()


def server_stats(path: str) -> dict[str, Any]:
    """Return what uWSGI tells of itself at its stats socket; raises OSError and ValueError."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(2)
        asked.connect(path)
        text = b"".join(iter(lambda: asked.recv(65536), b""))
    found: dict[str, Any] = json.loads(text)
    return found


class ServerCollector:
    """uWSGI's own figures; none where its socket does not answer."""

    def __init__(self, path: str) -> None:
        """Ask at this socket."""
        self._path = path

    def collect(self) -> Iterable[Metric]:
        """Ask uWSGI."""
        try:
            found = server_stats(self._path)
        except (OSError, ValueError):
            return
        workers = found["workers"]
        gauge, counter = GaugeMetricFamily, CounterMetricFamily
        yield gauge("uwsgi_listen_queue", "Connections that wait.", found["listen_queue"])
        yield counter(
            "uwsgi_listen_queue_errors", "Times the queue was full.", found["listen_queue_errors"]
        )
        yield gauge("uwsgi_rss_bytes", "Memory of the workers.", sum(w["rss"] for w in workers))
        states = gauge("uwsgi_workers", "Workers.", labels=["status"])
        for status, count in Count(w["status"].partition(" ")[0] for w in workers).items():
            states.add_metric([status], count)
        yield states
        for name, field, what in (
            ("requests", "requests", "Requests answered."),
            ("exceptions", "exceptions", "Requests that ended in an exception."),
            ("harakiri", "harakiri_count", "Workers killed since a request took too long."),
            ("spawns", "respawn_count", "Workers started."),
        ):
            yield counter(f"uwsgi_{name}", what, sum(worker[field] for worker in workers))


class JobsCollector:
    """Figures that are the same whichever worker is asked; none while the database is away."""

    def collect(self) -> Iterable[Metric]:
        """Ask the database."""
        try:
            found = jobs.status(site().database)
            states = site().database.rows(
                "SELECT state, count(*) AS n FROM conversations GROUP BY state"
            )
        except db.Unavailable:
            return
        of_jobs = GaugeMetricFamily("chatbot_jobs", "Jobs in the table.", labels=["state"])
        for state in ("queued", "running", "done", "failed"):
            of_jobs.add_metric([state], found[state])
        yield of_jobs
        open_ = GaugeMetricFamily("chatbot_conversations", "Conversations.", labels=["state"])
        for row in states:
            open_.add_metric([row["state"]], row["n"])
        yield open_
