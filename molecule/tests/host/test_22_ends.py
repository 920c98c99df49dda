"""What ends shows why: a crash loop is paced and given up, and want of memory is said."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from chatbot_site import STACK as CHATBOT
from ferry_site import CLERK, OFFICE, PAUSE_SECONDS, RESTARTS, STACK, back, clerk, events
from support import Machine, wait_until
from update_site import STACK as HARBOUR

STACKS = (CHATBOT, HARBOUR, STACK)


def all_runs(machine: Machine) -> dict[str, str]:
    """Return the runs of all processes but the clerk."""
    found = {name: run for stack in STACKS for name, run in machine.runs(stack).items()}
    del found[CLERK]
    return found


def test_a_crash_loop_is_paced_and_ends_visibly(settled: Machine) -> None:
    others = all_runs(settled)
    # Who starts it has it counted anew.
    settled.sh(f"moorage restart {STACK} clerk --reason 'a test'")
    pid, known = clerk(settled)["pid"], events(settled, "clerk")
    settled.sh(f"truncate --size 0 {OFFICE}/starts && touch {OFFICE}/sunk && kill -KILL {pid}")
    try:
        wait_until("it is given up", lambda: clerk(settled)["state"] == "FATAL", seconds=60)
        starts = [float(line) for line in settled.sh(f"cat {OFFICE}/starts").split()]
        assert len(starts) == RESTARTS, starts
        assert min(b - a for a, b in pairwise(starts)) >= PAUSE_SECONDS, starts
        given_up = clerk(settled)
        assert (given_up["pid"], given_up["wanted"]) == (None, "up"), given_up
        assert given_up["exit"]["code"] == 3 and "code 3" in given_up["reason"], given_up
        assert "FATAL" in settled.sh(f"moorage status {STACK}")
        new = [event for event in events(settled, "clerk") if event not in known]
        assert [e["message"] for e in new if e["kind"] == "state"][-1] == "→ fatal", new
        assert "the boat has sunk" in settled.sh(f"moorage logs {STACK} clerk --lines 20")
    finally:
        settled.sh(f"rm -f {OFFICE}/sunk && moorage start {STACK} clerk")
    back(settled, pid)
    assert all_runs(settled) == others, "nobody else is touched"


def test_a_kill_for_want_of_memory_can_be_seen(settled: Machine) -> None:
    others, before, known = all_runs(settled), clerk(settled), events(settled, "clerk")
    settled.sh(f"touch {OFFICE}/hoard")

    def told() -> dict[str, Any]:
        # The end of the one before is heard of by another way than the new one is.
        now = back(settled, before["pid"])
        assert now["exit"]["signal"] == 9, now
        return now

    now = wait_until("it is started anew", told)
    new = [event for event in events(settled, "clerk") if event not in known]
    assert [e["message"] for e in new if "exited" in e["message"]] == ["→ exited, code 137"], new
    # systemd hears of it where the kernel counts by groups of the second version.
    if settled.host.file("/sys/fs/cgroup/cgroup.controllers").exists:
        assert "memory" in now["reason"], now
        assert [event for event in new if event["kind"] == "oom"], new
    assert all_runs(settled) == others
