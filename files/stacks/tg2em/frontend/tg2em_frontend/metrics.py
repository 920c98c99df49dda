"""What /metrics tells of the database."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import select
from tg2em_core import articles
from tg2em_core.models import SignInState, TelegramSignIn

from tg2em_frontend.store import db


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


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
