"""Good updates: nobody notices, the receipt tells the same as the visitors, and is signed."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from update_rollouts import scale, update
from update_site import STACK, Harbour, Operator

Figure = Callable[[str], None]
REQUESTS = 10_000


def test_updates_fail_nobody_and_the_receipt_agrees(
    site: Harbour, operator: Operator, figure: Figure
) -> None:
    lines, scaled = list[str](), list[str]()
    with site.visited(rate=240) as visitors:
        visitors.wait_for(800)
        idle = visitors.seen
        began = time.time()
        lines.append(update(site, operator, visitors))
        site.assert_in_order()
        three: dict[str, Any] = {}
        if operator.topology == "containers":
            # Replicas come, are replaced one after the other, and go.
            three["harbour_replicas"] = {"web": 3}
            scaled.append(scale(site, operator, visitors, 3))
            site.assert_in_order()
        lines.append(update(site, operator, visitors, **three))
        site.assert_in_order()
        if three:
            scaled.append(scale(site, operator, visitors, 1, **three))
            site.assert_in_order()
        ended = time.time()
        visitors.wait_for(REQUESTS)
    seen = visitors.seen
    for line in lines + scaled:
        figure(f"{operator.topology}: {line}")
    figure(f"{operator.topology}: idle: {idle.summary()}")
    figure(f"{operator.topology}: during: {seen.between(began, ended).summary()}")
    figure(f"{operator.topology}: all: {seen.summary()}")
    seen.assert_none_failed(REQUESTS)
    assert len(seen.versions) == 1 + len(lines), seen.versions
    assert all(old.last <= new.first for old, new in pairwise(site.beats()))


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("worker", "harbour_replicas.worker: 2 {} of it cannot run: it must run once"),
        ("wep", "harbour_replicas.wep: is no service here; did you mean 'web'?"),
    ],
)
def test_what_cannot_be_scaled_is_refused_with_the_reason(
    site: Harbour, operator: Operator, service: str, said: str
) -> None:
    played = operator.scale(site.name, service, 2)
    what = "containers" if operator.topology == "containers" else "processes"
    assert played.status != 0 and said.format(what) in " ".join(played.output.split()), (
        played.output
    )


def test_scaling_brings_nothing_else(site: Harbour, operator: Operator) -> None:
    before = site.container_ids(STACK), site.release(STACK)
    mark = {**operator.build, "WEB_MARK": "half-done"}
    played = operator.scale(site.name, "web", 2, harbour_variables=mark)
    said = "more than the number of web would change: its configuration is another one"
    if operator.topology == "unified":
        said = "it listens on a port, which they would share; let it have more workers of its own"
    assert played.status != 0 and said in " ".join(played.output.split()), played.output
    assert (site.container_ids(STACK), site.release(STACK)) == before


def test_an_update_without_changes_touches_nothing(
    site: Harbour, operator: Operator, figure: Figure
) -> None:
    before, pools, release = site.container_ids(STACK), site.pools(), site.release(STACK)
    beats, began = site.beats()[-1].run, time.monotonic()
    played = operator.update(site.name).ok
    figure(f"{operator.topology}: no change: {time.monotonic() - began:.1f} s")
    assert played.count("changed") == 0, played.output
    assert (site.container_ids(STACK), site.pools(), site.release(STACK)) == (
        before,
        pools,
        release,
    )
    assert site.beats()[-1].run == beats


def test_a_dry_run_shows_what_would_change_and_touches_nothing(
    site: Harbour, operator: Operator
) -> None:
    before, release = site.container_ids(STACK), site.release(STACK)
    shown = operator.dry_run(site.name, {"WEB_MARK": "shown-in-the-diff"}).ok
    assert "shown-in-the-diff" in shown.output, shown.output
    assert shown.count("changed") > 0
    assert (site.container_ids(STACK), site.release(STACK)) == (before, release)


def test_a_setting_alone_is_an_update_that_builds_nothing(
    site: Harbour, operator: Operator
) -> None:
    # An image that nobody retains any more may go meanwhile.
    list_images = f"docker images -q --filter label=moorage.stack={STACK}"
    images = set(site.sh(list_images).split())
    worker = site.beats()[-1].run
    with site.visited() as visitors:
        operator.update(site.name, {"WEB_MARK": "another"}).ok  # noqa: B018
    visitors.seen.assert_none_failed(100)
    assert set(site.sh(list_images).split()) <= images
    assert "MARK=another" in site.environment_of(STACK, "web")
    if operator.topology == "containers":
        assert site.beats()[-1].run == worker, "nobody else is touched"
