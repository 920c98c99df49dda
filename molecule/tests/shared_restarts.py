"""Restarts of the engine and of the host: all is back without help, and no data is lost."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from application import APPLICATION
from described import PUBLIC
from support import Machine, wait_until

Figure = Callable[[str], None]


@pytest.fixture
def filled(settled: Machine) -> Machine:
    """The host, with content that could be lost."""
    APPLICATION.ensure_content(settled)
    return settled


def wait_until_serving(machine: Machine, seconds: float) -> None:
    """Wait until visitors are answered on every port."""
    wait_until("it serves", lambda: machine.serves(*PUBLIC), seconds=seconds)


def test_the_engine_restarts_and_containers_run_on(filled: Machine, stack: str) -> None:
    before = filled.runs(stack)
    # Nobody looks at the panel, which may well say that the engine is away.
    with APPLICATION.visited(filled, streams=False) as visitors:
        filled.sh("systemctl restart docker")
        visitors.wait_for_more(400)
    visitors.seen.assert_none_failed(400, set())
    assert filled.runs(stack) == before


def forced_ends(machine: Machine, stack: str) -> list[str]:
    """Return the notes of what was killed because its time to stop was over."""
    text = machine.sh(f"zcat -f $(find /opt/{stack}/logs -name 'supervisor.log*') </dev/null")
    text += machine.sh("journalctl --no-pager --quiet --unit docker")
    marks = ("killed: the grace period", "failed to exit within")
    return sorted(line for line in text.splitlines() if any(mark in line for mark in marks))


@pytest.mark.parametrize("cut_power", [False, True], ids=["in order", "power cut"])
def test_the_host_restarts(filled: Machine, stack: str, cut_power: bool, figure: Figure) -> None:
    before, release = APPLICATION.kept(filled), filled.release(stack)
    containers, forced = filled.container_ids(stack), forced_ends(filled, stack)
    filled.sh(f"moorage stop {stack} {APPLICATION.ASIDE} --reason 'a test'")
    try:
        began = time.monotonic()
        filled.restart(cut_power=cut_power)
        wait_until_serving(filled, 120)
        took = time.monotonic() - began
        figure(f"host restarted (power cut: {cut_power}): serving {took:.1f} s")
        aside = filled.status(stack)[APPLICATION.ASIDE]
        assert (aside["state"], aside["wanted"]) == ("STOPPED", "down"), "somebody had stopped it"
    finally:
        filled.sh(f"moorage start {stack} {APPLICATION.ASIDE}")
    assert APPLICATION.kept(filled) == before
    assert filled.release(stack) == release
    assert filled.container_ids(stack) == containers, "no container had to be made anew"
    if not cut_power:
        more = set(forced_ends(filled, stack)) - set(forced)
        assert more == set(), "every process had its time to stop"
        APPLICATION.assert_ended_in_order(filled)
