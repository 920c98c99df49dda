"""/metrics: requests, counted by all workers together, and totals from the database."""

import os
import time
from collections.abc import Iterable

from flask import Blueprint, Flask, Response, g, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from sqlalchemy import select
from tg2em_core import articles
from tg2em_core.models import SignInState, TelegramSignIn

from tg2em_frontend.store import db

blueprint = Blueprint("metrics", __name__)

# Read by prometheus-client when it is imported; gunicorn's configuration sets it beforehand.
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"

requests = Counter(
    "tg2em_http_requests_total", "Requests answered.", ["method", "endpoint", "status"]
)
seconds = Histogram(
    "tg2em_http_request_seconds",
    "Time to the response's first byte.",
    ["endpoint"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)


class DatabaseCollector:
    """Totals that are the same whichever worker is asked."""

    def collect(self) -> Iterable[Metric]:
        """Ask the database."""
        totals = articles.statistics(db())
        by_category = totals["by_category"]
        assert isinstance(by_category, dict)
        count = GaugeMetricFamily("tg2em_articles", "Articles shown.", labels=["category"])
        for category, number in by_category.items():
            count.add_metric([category], number)
        yield count
        yield GaugeMetricFamily("tg2em_channels", "Channels read.", value=_int(totals["channels"]))
        state = db().scalar(select(TelegramSignIn.state)) or SignInState.SIGNED_OUT
        signed_in = state is SignInState.SIGNED_IN
        yield GaugeMetricFamily(
            "tg2em_telegram_signed_in", "Whether the Telegram account is.", value=signed_in
        )


def init(app: Flask) -> None:
    """Count every request; the endpoint's name keeps the number of series small."""

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

    app.register_blueprint(blueprint)


@blueprint.get("/metrics")
def show() -> Response:
    """Return them in Prometheus' text format."""
    registry = CollectorRegistry()
    if os.environ.get(MULTIPROCESS):
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(requests)
        registry.register(seconds)
    registry.register(DatabaseCollector())
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
