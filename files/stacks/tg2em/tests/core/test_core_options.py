"""Settings keep their types and limits, from the environment, a form and the database alike."""

from typing import Any

import pytest
from tg2em_core import options
from tg2em_core.db import SessionFactory, transaction
from tg2em_core.models import Setting
from tg2em_core.options import InvalidOption, Options


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("scraper_enabled", "on", True),
        ("scraper_enabled", "", False),
        ("scraper_interval", " 60 ", 60),
        ("scraper_base_url", "https://example.com/", "https://example.com"),
        ("scraper_blocked_tags", "广告， #spam,,广告", ("广告", "spam")),
        ("scraper_blocked_tags", ["a", "b"], ("a", "b")),
    ],
)
def test_a_value_gets_its_type(name: str, given: Any, kept: Any) -> None:
    assert options.check(name, given) == kept


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("scraper_enabled", "perhaps"),
        ("scraper_interval", "4"),
        ("scraper_interval", "soon"),
        ("picture_max_edge", 4096),
        ("scraper_base_url", "javascript:alert(1)"),
        ("tgstate_url", "example.com"),
        ("site_title", 7),
        ("scraper_blocked_tags", [1]),
        ("no_such_setting", "x"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, given: Any) -> None:
    with pytest.raises(InvalidOption) as caught:
        options.check(name, given)
    assert caught.value.name == name


def test_the_administrator_s_word_counts_more_than_the_environment_s(
    empty: SessionFactory,
) -> None:
    environment = {"SCRAPER_INTERVAL": "600", "TGSTATE_URL": "http://tgstate:8088/"}
    with empty() as session:
        assert options.load(session, {}) == Options()
        found = options.load(session, environment)
        assert (found.scraper_interval, found.tgstate_url) == (600, "http://tgstate:8088")
    with transaction(empty) as session:
        options.save(session, {"scraper_interval": "120", "scraper_blocked_tags": "x,y"})
    with empty() as session:
        found = options.load(session, environment)
        assert (found.scraper_interval, found.scraper_blocked_tags) == (120, ("x", "y"))


def test_one_wrong_value_stores_none(empty: SessionFactory) -> None:
    with empty() as session, pytest.raises(InvalidOption):
        options.save(session, {"site_title": "new", "scraper_interval": "1"})
    with empty() as session:
        assert options.load(session, {}).site_title == "tg2em"


def test_a_stored_value_of_another_version_is_passed_over(empty: SessionFactory) -> None:
    with transaction(empty) as session:
        session.add_all(
            [Setting(name="scraper_interval", value="often"), Setting(name="gone", value=1)]
        )
    with empty() as session:
        assert options.load(session, {}) == Options()
