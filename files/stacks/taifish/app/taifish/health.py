"""/health for those who route requests here, /health/live for who would restart us, figures."""

from collections.abc import Iterable
from datetime import UTC, datetime

import redis
from flask import Blueprint, Response, jsonify
from prometheus_client.core import GaugeMetricFamily, Metric

from taifish import db, jobs
from taifish.site import site

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
def health() -> tuple[Response, int]:
    """Return 200 while database and Redis answer, else 503."""
    found = {"database": "ok", "redis": "ok"}
    try:
        site().database.value("SELECT 1")
    except db.Unavailable:
        found["database"] = "unreachable"
    try:
        site().queue.length()
    except redis.RedisError:
        found["redis"] = "unreachable"
    healthy = set(found.values()) == {"ok"}
    site().seen = site().seen or healthy
    status = "ok" if healthy else "failing"
    return jsonify(status=status, version=site().config.version, **found), 200 if healthy else 503


@blueprint.get("/health/live")
def live() -> tuple[Response, int]:
    """Return 200 once everything has answered for the first time, whatever it does later.

    A new release that cannot reach its database must not pass for healthy; one that could, must
    not be restarted because the database is away, as that mends nothing.
    """
    if site().seen:
        return jsonify(status="ok", version=site().config.version), 200
    return health()


class JobsCollector:
    """Figures that are the same whichever worker is asked; none while the database is away."""

    def collect(self) -> Iterable[Metric]:
        """Ask database and Redis."""
        try:
            found = jobs.status(site().database, site().config, site().queue)
        except (*db.Unavailable, redis.RedisError):
            return
        states = GaugeMetricFamily("taifish_jobs", "Jobs in the table.", labels=["state"])
        for state in ("queued", "running", "done", "failed"):
            states.add_metric([state], found[state])
        yield states
        yield GaugeMetricFamily(
            "taifish_queue_length", "Messages that wait for a worker.", value=found["queue_length"]
        )
        if found["last_beat"]:
            age = datetime.now(UTC) - datetime.fromisoformat(found["last_beat"])
            yield GaugeMetricFamily(
                "taifish_beat_age_seconds", "Since beat has sent something.", age.total_seconds()
            )
