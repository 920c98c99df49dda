"""Three of a service and back to one, updated, and some of them lost, under visitors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from application import APPLICATION, own
from checkout import Checkout
from counted import counted
from playbook import play
from shared_update import assert_dumped, receipt_of
from support import Machine, wait_until
from taifish_site import jobs, queries, visited

REQUESTS = 10_000
Figure = Callable[[str], None]


@pytest.fixture
def checkout(settled: Machine, stack: str, tmp_path: Path) -> Iterator[Checkout]:
    """A checkout with a history of its own; the host runs again what it ran, afterwards."""
    yield Checkout.make(tmp_path / "checkout", stack)
    play("site.yml").ok  # noqa: B018


def replicas(machine: Machine, stack: str, service: str) -> set[str]:
    """Return the containers of a service."""
    names = machine.container_ids(stack)
    return {n for n in names if n.startswith(f"{stack}-{service}")}


def scale(checkout: Checkout, service: str, number: int, **more: Any) -> None:
    """Have a service run so often."""
    options = {"stack": checkout.stack, "service": service, "replicas": number, **more}
    play("playbooks/scale.yml", root=checkout.root, **options).ok  # noqa: B018


def test_one_three_one_with_an_update_between_fails_nobody(
    settled: Machine, stack: str, checkout: Checkout, figure: Figure
) -> None:
    three = own(replicas={"app": 3, "celery_worker": 3})
    before = int(queries(settled, "SELECT count(*) FROM comments"))
    tally = int(jobs(settled)["tally"])
    with counted(settled, *APPLICATION.SINGLE) as beats, visited(settled) as visitors:
        settled.sh(f"moorage exec {stack} app python3 -m taifish.jobs enqueue-test 500")
        began = time.monotonic()
        scale(checkout, "app", 3)
        scale(checkout, "celery_worker", 3, **own(replicas={"app": 3}))
        figure(f"app and worker from one to three: {time.monotonic() - began:.1f} s")
        assert len(replicas(settled, stack, "app")) == 3
        assert len(replicas(settled, stack, "celery_worker")) == 3
        checkout.release("v2")
        began = time.monotonic()
        play("playbooks/update.yml", root=checkout.root, stack=stack, version="v2", **three).ok  # noqa: B018
        figure(f"update of three and three: {time.monotonic() - began:.1f} s")
        (hook,) = receipt_of(settled, stack)["hooks"]
        assert_dumped(settled, hook["saved"])
        visitors.wait_for_more(300)
        scale(checkout, "app", 1, version="v2", **own(replicas={"celery_worker": 3}))
        scale(checkout, "celery_worker", 1, version="v2")
        assert replicas(settled, stack, "app") == {f"{stack}-app"}
        visitors.wait_for(REQUESTS)
    seen = visitors.seen
    figure(f"one to three to one: {seen.summary()}")
    seen.assert_none_failed(REQUESTS, APPLICATION.LONG)
    assert "v2" in seen.versions
    assert beats.most == 1, beats
    # Whoever was told that a comment is kept finds it, once.
    written = sum(r["kind"].startswith("comment") for r in seen.requests)
    assert int(queries(settled, "SELECT count(*) FROM comments")) == before + written
    wait_until("no job was lost", lambda: jobs(settled)["tally"] == tally + 500, seconds=240)
    assert jobs(settled)["failed"] == 0


def test_replicas_that_die_or_hang_are_gone_round(
    settled: Machine, stack: str, checkout: Checkout, figure: Figure
) -> None:
    scale(checkout, "app", 3)
    try:
        with visited(settled, streams=False) as visitors:
            settled.sh(f"docker kill --signal KILL {stack}-app-2")
            visitors.wait_for_more(200)
            settled.sh(f"docker start {stack}-app-2")
            settled.sh(f"docker pause {stack}-app-3")
            visitors.wait_for_more(400)
            settled.sh(f"docker unpause {stack}-app-3")
            visitors.wait_for_more(200)
        figure(f"a replica killed, another one hung: {visitors.seen.summary()}")
    finally:
        scale(checkout, "app", 1)
    visitors.seen.assert_none_failed(800, APPLICATION.LONG)


def test_what_cannot_be_scaled_is_refused_with_the_reason(settled: Machine, stack: str) -> None:
    before = settled.container_ids(stack)
    for service, word in (("postgres", "postgres"), ("celery_beat", "singleton")):
        played = play("playbooks/scale.yml", stack=stack, service=service, replicas=2)
        assert played.status != 0 and word in played.output, played.output
    assert settled.container_ids(stack) == before
