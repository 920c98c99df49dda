"""/metrics: requests, counted by all workers together, and what the application measures itself."""

import os
import time
from functools import cache

from flask import Blueprint, Flask, Response, g, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

# Read by prometheus-client when it is imported; whoever starts several workers sets it beforehand.
_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


@cache
def _figures(name: str) -> tuple[Counter, Histogram]:
    # Once a process: its registry takes no name twice.
    requests = Counter(
        f"{name}_http_requests_total", "Requests answered.", ["method", "endpoint", "status"]
    )
    seconds = Histogram(
        f"{name}_http_request_seconds",
        "Time to the response's first byte.",
        ["endpoint"],
        buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    )
    return requests, seconds


def init(app: Flask, name: str, *collectors: Collector) -> None:
    """Count every request; the endpoint's name keeps the number of series small.

    `name` begins the names of the series; `collectors` are asked whenever /metrics is.
    """
    requests, seconds = _figures(name)
    blueprint = Blueprint("metrics", __name__)

    @app.before_request
    def begin() -> None:
        g.begun = time.perf_counter()

    @app.after_request
    def count(response: Response) -> Response:
        endpoint = request.endpoint or "none"
        requests.labels(request.method, endpoint, response.status_code).inc()
        if "begun" in g:
            seconds.labels(endpoint).observe(time.perf_counter() - g.begun)
        return response

    @blueprint.get("/metrics")
    def show() -> Response:
        """Return figures in Prometheus' text format."""
        registry = CollectorRegistry()
        if os.environ.get(_MULTIPROCESS):
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        else:
            registry.register(requests)
            registry.register(seconds)
        for collector in collectors:
            registry.register(collector)
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    app.register_blueprint(blueprint)
