"""Whoever watches and whoever is asked is killed: both come back, and know what they knew."""

from __future__ import annotations

import pytest
from ferry_site import CLERK, STACK, clerk, events
from support import Machine, wait_until


@pytest.mark.parametrize("part", ["gateway", "watch"])
def test_a_killed_part_of_the_control_comes_back_and_knows_what_it_knew(
    settled: Machine, part: str
) -> None:
    unit, others = f"moorage-{part}-{STACK}.service", settled.runs(STACK)
    show = f"systemctl show --property MainPID --value {unit}"
    settled.sh(f"moorage stop {STACK} clerk --reason 'a test'")
    try:
        before, pid = events(settled, "clerk"), settled.sh(show)
        assert pid != "0" and "exited" in before[-1]["message"], before
        settled.sh(f"kill -KILL {pid}")
        wait_until("there is another one", lambda: settled.sh(show) not in ("0", pid))
        socket = f"/run/moorage/{STACK}/{part}/control.sock"
        ask = f"curl --silent --fail --unix-socket {socket} http://control/v1/services/clerk"
        wait_until("it answers", lambda: '"stopped"' in settled.sh(ask))
        assert clerk(settled)["wanted"] == "down"
        assert events(settled, "clerk")[: len(before)] == before
    finally:
        settled.sh(f"moorage start {STACK} clerk")
    after = settled.runs(STACK)
    assert {n for n in others if others[n] != after[n]} == {CLERK}
