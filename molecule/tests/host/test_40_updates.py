"""Updates of processes: nobody notices, the receipt says the same, jobs are done once."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from chatbot_site import STACK as CHATBOT
from chatbot_site import jobs, wait_until_done
from playbook import play
from support import Machine
from update_rollouts import scale, update
from update_site import STACK, Harbour, Operator

Figure = Callable[[str], None]
REQUESTS = 10_000


def test_updates_fail_nobody_and_the_receipt_agrees(
    site: Harbour, operator: Operator, figure: Figure
) -> None:
    lines = []
    three = {"harbour_replicas": {"web": 3}}
    with site.visited(rate=240) as visitors:
        visitors.wait_for(800)
        began = time.time()
        lines.append(update(site, operator, visitors))
        site.assert_in_order()
        # Replicas come, are replaced one after the other, and go.
        lines.append(scale(site, operator, visitors, 3))
        lines.append(update(site, operator, visitors, **three))
        site.assert_in_order()
        lines.append(scale(site, operator, visitors, 1, **three))
        ended = time.time()
        visitors.wait_for(REQUESTS)
    seen = visitors.seen
    for line in lines:
        figure(f"host: {line}")
    figure(f"host: during: {seen.between(began, ended).summary()}")
    seen.assert_none_failed(REQUESTS)
    assert len(seen.versions) == 3, seen.versions
    assert all(old.last <= new.first for old, new in pairwise(site.beats()))


def test_a_rollback_brings_the_version_before_back(site: Harbour, operator: Operator) -> None:
    old, release = site.version(), site.release(STACK)
    version = operator.next_version()
    with site.visited() as visitors:
        operator.update(site.name, {"WEB_VERSION": version}).ok  # noqa: B018
        assert site.version() == version
        operator.rollback(site.name).ok  # noqa: B018
        operator.build["WEB_VERSION"] = old
    visitors.seen.assert_none_failed(200)
    assert (site.version(), site.release(STACK)) == (old, release)


def test_one_service_alone_is_updated(site: Harbour, operator: Operator) -> None:
    before, version = site.runs(STACK), operator.next_version()
    both = {"WEB_VERSION": version, "WORKER_VERSION": version}
    with site.visited() as visitors:
        operator.update(site.name, both, service="worker").ok  # noqa: B018
    visitors.seen.assert_none_failed(50)
    assert site.version() != version and site.beats()[-1].version == version
    assert site.runs(STACK)["harbour-web"] == before["harbour-web"]
    operator.update(site.name).ok  # noqa: B018
    assert site.version() == version


def test_workers_come_and_go_and_every_job_is_done_exactly_once(
    settled: Machine, figure: Figure
) -> None:
    tally, before = jobs(settled)["tally"], settled.runs(CHATBOT)
    jobs(settled, "enqueue-test", "1000")
    options: dict[str, Any] = {"stack": CHATBOT, "service": "task"}
    now_four: dict[str, Any] = {**options, f"{CHATBOT}_replicas": {"task": 4}}
    began = time.monotonic()
    play("playbooks/scale.yml", replicas=4, **options).ok  # noqa: B018
    figure(f"chatbot: two workers more: {time.monotonic() - began:.1f} s")
    four = settled.runs(CHATBOT)
    assert set(four) - set(before) == {f"{CHATBOT}-task-3", f"{CHATBOT}-task-4"}
    assert {name: four[name] for name in before} == before, "nobody else is touched"
    jobs(settled, "enqueue-test", "1000")
    play("playbooks/scale.yml", replicas=2, **now_four).ok  # noqa: B018
    assert settled.runs(CHATBOT) == before
    wait_until_done(settled, tally + 2000)
