"""Two at once, and back: the lock, and what `previous` means."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

from update_receipts import newest as newest_receipt
from update_site import BASE, RESERVATION, STACK, Harbour, Operator, wait_for_phase


def build_of(operator: Operator) -> dict[str, str]:
    """Return a build that is another one."""
    version = operator.next_version()
    return {"WEB_VERSION": version, "WORKER_VERSION": version}


def test_of_two_updates_at_once_the_second_is_refused_or_waits(
    site: Harbour, operator: Operator
) -> None:
    first, second = build_of(operator), build_of(operator)
    with site.visited() as visitors:
        # Long enough for the other one to come and to be turned away.
        with operator.updating(site.name, first, harbour_monitor_seconds=4) as process:
            wait_for_phase(site, process, "it has the lock", f"test -e {RESERVATION}")
            refused = operator.update(site.name, second, lock_wait=1)
            assert refused.status != 0, refused.output
            assert re.search(r"holds .*harbour.* since \d{4}-", refused.output), refused.output
            assert process.poll() is None, "the first one is still at work"
            assert operator.update(site.name, second).status == 0, "it waits until its turn"
            assert process.wait(timeout=300) == 0
        assert site.version() == second["WEB_VERSION"]
    visitors.seen.assert_none_failed(200)
    assert visitors.seen.versions >= {first["WEB_VERSION"], second["WEB_VERSION"]}


def test_a_lock_of_somebody_who_is_gone_is_told_and_can_be_broken(
    site: Harbour, operator: Operator
) -> None:
    note = (
        '{"token": "t", "who": "ann", "controller": "desk.example.com", "pid": 1, '
        '"started": 1.0, "purpose": "update", "since": 1000000000.0, "expires": 1000000900.0}'
    )
    build = build_of(operator)
    site.sh(f"printf '%s' '{note}' >{RESERVATION}")
    try:
        refused = operator.update(site.name, build, lock_wait=1)
        assert refused.status != 0
        for word in ("ann", "desk.example.com", "2001-09-09", "stale", f"moorage unlock {STACK}"):
            assert word in refused.output, f"no {word!r} in {refused.output}"
        operator.update(site.name, build, break_lock=True).ok  # noqa: B018
    finally:
        site.sh(f"rm -f {RESERVATION}")
    assert site.version() == build["WEB_VERSION"]


def test_back_and_back_again_after_updates_without_changes(
    site: Harbour, operator: Operator, figure: Callable[[str], None]
) -> None:
    # The history is the same in every topology: one of them shows that none of it is counted.
    times = {"unified": 1, "containers": 6}[operator.topology]
    first, build = site.release(STACK), dict(operator.build)
    versions = [build["WEB_VERSION"]]
    for _ in range(2):
        operator.update(site.name, build_of(operator)).ok  # noqa: B018
        versions.append(operator.build["WEB_VERSION"])
    oldest, middle, newest = versions
    assert site.version() == newest
    for _ in range(times):
        assert operator.update(site.name).ok.count("changed") == 0
    last = site.release(STACK)
    with site.visited() as visitors:
        began = time.monotonic()
        operator.rollback(site.name).ok  # noqa: B018
        figure(f"{operator.topology}: rollback: {time.monotonic() - began:.1f} s")
        assert site.version() == middle, "the version before, and not the same one once more"
        assert site.beats()[-1].version == middle
        operator.rollback(site.name).ok  # noqa: B018
        assert site.version() == oldest, "further back, and not to what was no good"
        operator.rollback(site.name, release=last).ok  # noqa: B018
        assert site.version() == newest, "forward by name"
        operator.rollback(site.name, release=first).ok  # noqa: B018
        assert site.version() == oldest and site.release(STACK) == first
    operator.build = build
    visitors.seen.assert_none_failed(200)
    receipt = newest_receipt(site)[1]
    assert (receipt["action"], receipt["after"]["release"]) == ("rollback", first)
    unknown = operator.rollback(site.name, release="0123456789ab")
    assert unknown.status != 0 and "0123456789ab" in unknown.output, unknown.output
    assert first in unknown.output, "who names one that is not there learns which there are"


def test_images_of_releases_to_go_back_to_are_there(site: Harbour) -> None:
    history = site.sh(f"cat {BASE}/releases/history.jsonl").splitlines()
    activated = {json.loads(line)["release"] for line in history}
    retained = set(site.sh(f"ls {BASE}/releases").split())
    manifests = [f"{BASE}/releases/{name}/release.json" for name in retained & activated]
    wanted = {ref for path in manifests for ref in json.loads(site.sh(f"cat {path}"))["images"]}
    there = set(site.sh("docker images --format '{{.Repository}}:{{.Tag}}'").splitlines())
    assert wanted <= there, "a rollback would find nothing"
