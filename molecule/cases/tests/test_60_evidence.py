"""What a rollout concludes from what it sees: on a busy host, of what is held, of what is cut."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from pilot_site import BAD, PORT, Pilot, marked, visiting
from support import wait_until

# Twice as many as there are processors; quick to see, and gone with the test.
_LOOPS = 4
# The whole proof takes MOORAGE_BUSY_UPDATES=20,10; here it is as long as a scenario allows.
_GOOD, _BAD = (int(n) for n in os.environ.get("MOORAGE_BUSY_UPDATES", "1,2").split(","))


@contextmanager
def busy(pilot: Pilot) -> Iterator[None]:
    """Have nothing of the processors' time left while the block runs."""
    units = [f"busy-{number}" for number in range(_LOOPS)]
    for unit in units:
        pilot.sh(f"systemd-run --collect --unit={unit} sh -c 'while :; do :; done'")
    try:
        yield
    finally:
        pilot.sh(f"systemctl stop {' '.join(units)}")


def test_on_a_busy_host_what_is_good_stays_and_what_is_bad_goes(pilot: Pilot) -> None:
    marked(pilot, "calm")
    pilot.site().ok  # noqa: B018
    good = pilot.description.web.get("command")
    with busy(pilot):
        for number in range(_GOOD):
            marked(pilot, f"good-{number}")
            pilot.update().ok  # noqa: B018
            assert told(pilot, f"good {number}")["outcome"] == "activated"
        for kind in (list(BAD) * _BAD)[:_BAD]:
            pilot.description.web["command"] = ["python3", "-c", BAD[kind]]
            played = pilot.update(pilot_gate_timeout_seconds=30)
            assert played.status != 0, (kind, played.output)
            assert told(pilot, f"bad {kind}")["outcome"] == "restored", played.output
            assert pilot.ask("/").text == f"good-{_GOOD - 1} GET /\n", kind
            pilot.description.web["command"] = good


def told(pilot: Pilot, what: str) -> dict[str, Any]:
    """Return the receipt of the last rollout, after a line about it for whoever plays the proof."""
    path = pilot.last_journal()[-1]["receipt"]
    receipt: dict[str, Any] = json.loads(pilot.sh(f"cat {path}"))
    seen = receipt["requests"]["during"]
    why = receipt["too_busy"] or receipt["reason"] or "-"
    print(
        f"{what}: {receipt['outcome']} after {receipt['finished'] - receipt['started']:.0f} s at "
        f"load {os.getloadavg()[0]:.0f}, {'' if receipt['judged'] else 'not '}judged; "
        f"{seen['requests']} requests, failed: {seen['failed']}; {why.splitlines()[0]}"
    )
    return receipt


def test_what_is_held_while_there_is_no_other_has_its_answer(pilot: Pilot) -> None:
    web = pilot.description.web
    web["deploy"] = {"update_config": {"order": "stop-first"}}
    marked(pilot, "before")
    pilot.site().ok  # noqa: B018
    marked(pilot, "after", BOOT="4")
    with visiting(pilot) as answers:
        pilot.update(pilot_edge={"hold_seconds": 40}).ok  # noqa: B018
    assert pilot.ask("/").text == "after GET /\n"
    assert {status for status, _ in answers} == {200}, answers
    receipt = pilot.receipt()
    assert receipt["requests"]["in_place"]["failed"] == {}, receipt["requests"]
    assert [gap["service"] for gap in receipt["in_place_gaps"]] == ["web"]
    assert receipt["in_place_gaps"][0]["seconds"] > 4


@pytest.mark.parametrize("topology", ["containers", "unified"])
def test_what_visitors_reach_and_cannot_run_twice_is_updated_with_its_gap_told(
    pilot: Pilot, topology: str
) -> None:
    pilot.description.settings |= {
        "pilot_topology": topology,
        "pilot_edge": {"hold_seconds": 2},
    }
    pilot.description.web["x-moorage"] = {"singleton": True}
    # Whether it was one before is another matter.
    own = "--filter label=moorage.stack=pilot --filter label=moorage.service"
    pilot.sh(f"docker ps -aq {own} | xargs --no-run-if-empty docker rm -f")
    marked(pilot, "before")
    pilot.site().ok  # noqa: B018
    marked(pilot, "after", BOOT="6")
    with visiting(pilot) as answers:
        pilot.update().ok  # noqa: B018
    assert pilot.ask("/").text == "after GET /\n"
    assert {status for status, _ in answers} == {200, 503}, answers
    assert all(said for status, said in answers if status == 503), answers
    receipt = pilot.receipt()
    assert [gap["service"] for gap in receipt["singleton_gaps"]] == ["web"], receipt
    assert 6 < receipt["singleton_gaps"][0]["seconds"] < 60
    assert receipt["requests"]["judged" if topology == "unified" else "during"]["failed"] == {}


def test_what_is_cut_is_counted(pilot: Pilot) -> None:
    marked(pilot, "before")
    pilot.site().ok  # noqa: B018
    upgrade = "GET /ws HTTP/1.1\r\nHost: pilot\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with ExitStack() as opened:
        for _ in range(10):
            one = opened.enter_context(socket.create_connection((pilot.address, PORT), timeout=20))
            one.sendall(upgrade.encode())
            wait_until("a WebSocket", lambda one=one: b" 101 " in one.recv(4096))  # type: ignore[misc]
        marked(pilot, "after")
        pilot.update(pilot_drain_seconds=1).ok  # noqa: B018
    receipt = pilot.receipt()
    assert receipt["cut"] == 10, receipt
    line = pilot.sh("tail -n 1 /var/log/moorage/rollouts/pilot.log")
    assert "10 open connections were cut" in line
