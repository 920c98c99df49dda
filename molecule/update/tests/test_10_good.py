"""Good updates: nobody notices, the receipt tells the same as the visitors, and is signed."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

from load import Load
from update_receipts import check, compare, newest
from update_site import STACK, Harbour, Operator

Figure = Callable[[str], None]
REQUESTS = 10_000


def builds(operator: Operator) -> list[dict[str, str]]:
    """Return what is updated to, one after the other; both services change each time."""
    # In containers, two replicas come, are replaced one after the other, and go.
    two: list[dict[str, str]] = [{}, {"WEB_REPLICAS": "2", "WEB_DELAY": "300ms"}, {}]
    steps = [*two, {"WEB_REPLICAS": "1"}] if operator.topology == "containers" else [{}, {}]
    versions = [operator.next_version() for _ in steps]
    return [
        {"WEB_VERSION": version, "WORKER_VERSION": version, **step}
        for version, step in zip(versions, steps, strict=True)
    ]


def update(site: Harbour, operator: Operator, build: dict[str, str], visitors: Load) -> str:
    """Update once, look at everything, and return a line of figures."""
    old, began = site.release(STACK), time.monotonic()
    operator.update(site.name, build).ok  # noqa: B018
    took = time.monotonic() - began
    version = build["WEB_VERSION"]
    assert site.version() == version
    path, receipt = newest(site)
    check(site, path, receipt)
    compare(receipt, visitors.seen)
    assert receipt["outcome"] == "activated" and receipt["action"] == "update"
    assert receipt["topology"] == operator.topology
    assert receipt["before"]["release"] == old
    assert receipt["after"]["release"] == site.release(STACK)
    assert all(image["digest"] for image in receipt["after"]["images"].values())
    gaps = {gap["service"]: gap["seconds"] for gap in receipt["singleton_gaps"]}
    before, after = site.beats()[-2:]
    assert after.version == version
    assert before.last <= after.first, "never two of them"
    assert abs(gaps["worker"] - (after.first - before.last)) < 1, (gaps, before, after)
    host = sum(seconds for seconds in receipt["phases"].values())
    phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in receipt["phases"].items())
    return f"to {version}: {took:.1f} s, on the host {host:.2f} s ({phases}); gaps {gaps}"


def test_updates_fail_nobody_and_the_receipt_agrees(
    site: Harbour, operator: Operator, figure: Figure
) -> None:
    lines = []
    with site.visited(rate=340) as visitors:
        visitors.wait_for(800)
        idle = visitors.seen
        began = time.time()
        for build in builds(operator):
            lines.append(update(site, operator, build, visitors))
            site.assert_in_order()
        ended = time.time()
        visitors.wait_for(REQUESTS)
    seen = visitors.seen
    for line in lines:
        figure(f"{operator.topology}: {line}")
    figure(f"{operator.topology}: idle: {idle.summary()}")
    figure(f"{operator.topology}: during: {seen.between(began, ended).summary()}")
    figure(f"{operator.topology}: all: {seen.summary()}")
    seen.assert_none_failed(REQUESTS)
    assert len(seen.versions) == 1 + len(lines), seen.versions
    assert all(old.last <= new.first for old, new in pairwise(site.beats()))


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
