"""The edge that dies, or that somebody has stopped: it is back, and knows where visitors go."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from described import PUBLIC
from playbook import play
from support import Machine, wait_until

EDGE = "moorage-edge"
Figure = Callable[[str], None]


def processes(machine: Machine, kind: str) -> list[str]:
    """Return the pids, as the host has them, of nginx's `master` or its `worker`s."""
    lines = machine.sh(f"docker top {EDGE} -eo pid,args").splitlines()[1:]
    return [line.split()[0] for line in lines if f"nginx: {kind} process" in line]


def started(machine: Machine) -> str:
    """Return when the engine has started the edge."""
    return machine.sh(f"docker inspect -f '{{{{.State.StartedAt}}}}' {EDGE}")


def peers(machine: Machine, stack: str) -> dict[str, list[str]]:
    """Return where the edge sends visitors."""
    stacks = json.loads(machine.sh("moorage edge status --json"))["stacks"]
    (entry,) = [entry for entry in stacks if entry["stack"] == stack]
    return {name: list(found) for name, found in entry["pools"].items()}


def wait_until_it_serves(machine: Machine) -> None:
    """Wait until visitors are answered on every port."""
    wait_until("the edge serves again", lambda: machine.serves(*PUBLIC), seconds=20)


def test_killed_workers_of_the_edge_are_replaced(settled: Machine, stack: str) -> None:
    before, old, known = started(settled), processes(settled, "worker"), peers(settled, stack)
    assert old
    settled.sh(f"kill -9 {' '.join(old)}")
    wait_until(
        "there are others",
        lambda: (now := processes(settled, "worker")) and not set(now) & set(old),
        seconds=10,
    )
    wait_until_it_serves(settled)
    assert started(settled) == before
    assert peers(settled, stack) == known


def test_a_killed_edge_comes_back_and_knows_where_visitors_go(
    settled: Machine, stack: str, figure: Figure
) -> None:
    before, known = started(settled), peers(settled, stack)
    began = time.monotonic()
    settled.sh(f"kill -9 {' '.join(processes(settled, 'master'))}")
    wait_until_it_serves(settled)
    figure(f"edge killed: serving after {(time.monotonic() - began) * 1000:.0f} ms")
    assert started(settled) != before
    assert peers(settled, stack) == known


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_an_edge_that_was_stopped_is_started_by_the_next_run(
    settled: Machine, stack: str, verb: str
) -> None:
    known = peers(settled, stack)
    # The engine takes both for an operator's wish, and starts it neither now nor at a boot.
    settled.sh(f"docker {verb} {EDGE}")
    with pytest.raises((AssertionError, OSError)):
        settled.serves(*PUBLIC)
    assert play("site.yml").ok.count("changed") > 0
    assert settled.serves(*PUBLIC)
    assert peers(settled, stack) == known
    assert play("site.yml").ok.count("changed") == 0
