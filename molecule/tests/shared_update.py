"""Good updates of the stack itself: nobody notices, the receipt tells the same, data is kept."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from application import APPLICATION
from checkout import Checkout
from counted import counted
from load import Load
from playbook import play
from shared_edge import EDGE, wait_until_it_serves
from support import Machine
from update_receipts import check, compare

REQUESTS = 10_000
Figure = Callable[[str], None]
SINGLE, visited = APPLICATION.SINGLE, APPLICATION.visited


def receipt_of(machine: Machine, stack: str) -> dict[str, Any]:
    """Return the newest receipt of the running release, after a look at its form and signature."""
    path = machine.sh(f"readlink -f /opt/{stack}/current/receipt.json")
    found: dict[str, Any] = json.loads(machine.sh(f"cat {path}"))
    check(machine, path, found)
    return found


def update(machine: Machine, checkout: Checkout, version: str, visitors: Load) -> dict[str, Any]:
    """Update to a version and return the receipt, which has to agree with the visitors."""
    stack, old = checkout.stack, machine.release(checkout.stack)
    checkout.release(version)
    play("playbooks/update.yml", root=checkout.root, stack=stack, version=version).ok  # noqa: B018
    receipt = receipt_of(machine, stack)
    compare(receipt, visitors.seen)
    assert (receipt["outcome"], receipt["action"]) == ("activated", "update")
    assert receipt["before"]["release"] == old
    assert receipt["after"]["release"] == machine.release(stack) != old
    assert receipt["after"]["version"] == version
    assert machine.container_of(stack, APPLICATION.VISITED) in receipt["services"]["updated"]
    (hook,) = receipt["hooks"]
    assert_dumped(machine, hook["saved"])
    return receipt


def assert_dumped(machine: Machine, path: str) -> None:
    """Make sure that a dump is there for root alone, whole, and holds the content."""
    assert machine.sh(f"stat -c '%u %a' {path}") == "0 600"
    argv = ["docker", "exec", machine.name, "cat", path]
    APPLICATION.assert_dumped(subprocess.run(argv, capture_output=True, check=True).stdout)


@pytest.fixture
def checkout(settled: Machine, stack: str, tmp_path: Path) -> Iterator[Checkout]:
    """A checkout with a history of its own; the host runs again what it ran, afterwards."""
    yield Checkout.make(tmp_path / "checkout", stack)
    play("site.yml").ok  # noqa: B018


def test_updates_fail_nobody_and_the_receipts_agree(
    settled: Machine, stack: str, figure: Figure, checkout: Checkout
) -> None:
    APPLICATION.ensure_content(settled)
    release, data = settled.release(stack), APPLICATION.kept(settled)
    with (
        counted(settled, *SINGLE) as processes,
        visited(settled, rate=260) as visitors,
    ):
        visitors.wait_for(800)
        idle, began = visitors.seen, time.time()
        receipts = [update(settled, checkout, version, visitors) for version in ("v2", "v3")]
        # And back to what ran before any of them.
        play("site.yml").ok  # noqa: B018
        ended = time.time()
        receipts.append(receipt_of(settled, stack))
        compare(receipts[-1], visitors.seen)
        visitors.wait_for(REQUESTS)
    seen = visitors.seen
    for receipt in receipts:
        phases = ", ".join(f"{name} {took:.2f}" for name, took in receipt["phases"].items())
        figure(f"update to {receipt['after']['version'] or 'the working tree'}: {phases}")
    figure(f"idle: {idle.summary()}")
    figure(f"during: {seen.between(began, ended).summary()}")
    figure(f"all: {seen.summary()}")
    seen.assert_none_failed(REQUESTS, APPLICATION.LONG)
    assert seen.versions == {"v2", "v3"}, "visitors saw every one of them"
    assert processes.looks > 100 and processes.most == 1, processes
    gaps = [gap["seconds"] for receipt in receipts for gap in receipt["singleton_gaps"]]
    away = f"{gaps} s by the receipts, {processes.without} s at most as seen"
    figure(f"{APPLICATION.ASIDE} was away: {away}")
    assert abs(max(gaps, default=0.0) - processes.without) < 1
    assert settled.release(stack) == release
    assert APPLICATION.kept(settled) == data


def test_after_updates_a_new_edge_knows_where_visitors_go(settled: Machine) -> None:
    settled.sh(f"docker restart {EDGE}")
    wait_until_it_serves(settled)
