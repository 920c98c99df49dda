"""/health for those who route requests here, /health/live for who would restart us, /metrics."""

import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime

import redis
from flask import Blueprint, Flask, Response, g, jsonify, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from taifish import db, jobs
from taifish.site import site

blueprint = Blueprint("health", __name__)

# Read by prometheus-client when it is imported; gunicorn's configuration sets it beforehand.
_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
_requests = Counter(
    "taifish_http_requests_total", "Requests answered.", ["method", "endpoint", "status"]
)
_seconds = Histogram(
    "taifish_http_request_seconds",
    "Time to the response's first byte.",
    ["endpoint"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)


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


@blueprint.get("/metrics")
def metrics() -> Response:
    """Return figures in Prometheus' text format."""
    registry = CollectorRegistry()
    if os.environ.get(_MULTIPROCESS):
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(_requests)
        registry.register(_seconds)
    registry.register(JobsCollector())
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def init(app: Flask) -> None:
    """Count every request; the endpoint's name keeps the number of series small."""

    @app.before_request
    def begin() -> None:
        g.begun = time.perf_counter()

    @app.after_request
    def count(response: Response) -> Response:
        endpoint = request.endpoint or "none"
        _requests.labels(request.method, endpoint, response.status_code).inc()
        if "begun" in g:
            _seconds.labels(endpoint).observe(time.perf_counter() - g.begun)
        return response

    app.register_blueprint(blueprint)
