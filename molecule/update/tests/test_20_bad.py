"""Bad builds: the old version goes on, nobody notices, and the operator is told the truth."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from update_bad import CASES, give_way, told
from update_site import Harbour, Operator


@pytest.mark.parametrize("name", CASES)
def test_a_bad_build_gives_way_and_says_why(
    site: Harbour, operator: Operator, name: str, figure: Callable[[str], None]
) -> None:
    give_way(site, operator, name, figure)


def test_a_build_that_dies_among_visitors_gives_way(
    site: Harbour, operator: Operator, figure: Callable[[str], None]
) -> None:
    """It does well for five seconds: only somebody who goes on watching can know better."""
    version = site.version()
    new = {"WEB_VERSION": operator.next_version(), "WEB_FAULT": "dies"}
    with site.visited() as visitors:
        played = operator.update(site.name, new, harbour_monitor_seconds=8)
        visitors.wait_for_more(50)
    figure(f"{operator.topology}: dies after 5 s: {visitors.seen.summary()}")
    assert played.status != 0, played.output
    # Whoever sees it first: the prober, or the look at the container.
    assert re.search(r"budget is spent|did not stay well", told(played.output)), played.output
    assert site.version() == version
    # Whoever was with it when it died was let down; nobody after that.
    lost = [r["at"] for r in visitors.seen.failed]
    assert not lost or max(lost) - min(lost) < 2, visitors.seen.summary()
