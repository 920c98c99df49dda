"""The host restarts: all is back without help, but for what somebody has stopped."""

from __future__ import annotations

import time
from collections.abc import Callable

from chatbot_site import STACK, converse, jobs, said, wait_until_done
from support import Machine, wait_until
from update_site import STACK as HARBOUR
from update_site import Harbour


def test_the_host_restarts(settled: Machine, site: Harbour, figure: Callable[[str], None]) -> None:
    token, tally = converse(settled, "Is this kept?"), jobs(settled)["tally"]
    jobs(settled, "enqueue-test", "50")
    before = {stack: set(settled.instances(stack)) for stack in (STACK, HARBOUR)}
    version, releases = site.version(), [settled.release(stack) for stack in before]
    beats = len(site.beats())
    settled.sh(f"moorage stop {HARBOUR} worker --reason 'a test'")
    try:
        began = time.monotonic()
        settled.restart()
        wait_until("harbour serves", lambda: site.version() == version, seconds=120)
        wait_until("chatbot serves", lambda: said(settled, token), seconds=120)
        figure(f"host restarted in order: {time.monotonic() - began:.1f} s")
        worker = settled.status(HARBOUR)["worker"]
        assert (worker["state"], worker["wanted"]) == ("STOPPED", "down"), worker
        assert not settled.instances(HARBOUR)["harbour-worker"]["pid"]
    finally:
        settled.sh(f"moorage start {HARBOUR} worker")
    wait_until("the worker works", lambda: len(site.beats()) > beats)
    assert {stack: set(settled.instances(stack)) for stack in before} == before
    assert [settled.release(stack) for stack in before] == releases
    wait_until_done(settled, tally + 50)
