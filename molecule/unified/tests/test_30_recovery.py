"""What dies comes back; what was stopped stays stopped; what cannot live is said to be dead."""

from __future__ import annotations

import time
import urllib.request

import pytest
from support import Machine, wait_until

OWN = ("frontend", "tgstate", "scraper")
HEALTH = {"frontend": 5000, "tgstate": 8088}


def kill(machine: Machine, pid: int, signal: str = "KILL") -> None:
    """Signal a process inside the unified container."""
    machine.sh(
        f"docker exec tg2em-unified python3 -c 'import os; os.kill({pid}, {_number(signal)})'"
    )


def _number(signal: str) -> int:
    return {"KILL": 9, "TERM": 15}[signal]


def answers(machine: Machine, port: int) -> bool:
    """Tell whether a port serves its health page."""
    with urllib.request.urlopen(f"http://{machine.address}:{port}/health", timeout=2) as answer:
        return bool(answer.status == 200)


@pytest.mark.parametrize("name", OWN)
def test_a_killed_service_is_replaced_within_a_second(
    settled: Machine, stack: str, name: str
) -> None:
    before = settled.status(stack)[name]
    kill(settled, before["pid"])
    began = time.monotonic()
    after = wait_until(
        f"{name} has a new process",
        lambda: (now := settled.status(stack)[name])["pid"] not in (None, before["pid"]) and now,
        seconds=5,
        every=0.02,
    )
    assert after["restarts"] == before["restarts"] + 1
    # What is seen from here contains two trips into the host; the product itself is far faster.
    assert time.monotonic() - began < 1.5
    if name in HEALTH:
        wait_until(f"{name} serves", lambda: answers(settled, HEALTH[name]), seconds=15)


def test_a_killed_database_comes_back_with_its_data(settled: Machine, stack: str) -> None:
    pid = settled.sh("docker inspect -f '{{.State.Pid}}' tg2em-mysql")
    settled.sh(f"kill -9 {pid}")
    wait_until("the front end reaches it again", lambda: answers(settled, 5000), seconds=60)
    assert settled.sh("docker inspect -f '{{.State.Pid}}' tg2em-mysql") != pid


def test_services_outlive_their_supervisor(settled: Machine, stack: str) -> None:
    before = {name: s["pid"] for name, s in settled.status(stack).items()}
    supervisor = _supervisor(settled)
    kill(settled, supervisor)
    wait_until(
        "another supervisor answers",
        lambda: _supervisor(settled) != supervisor and settled.status(stack).get("frontend"),
        seconds=5,
        every=0.05,
    )
    after = settled.status(stack)
    assert {name: s["pid"] for name, s in after.items()} == before
    kill(settled, after["scraper"]["pid"])
    wait_until(
        "the new supervisor replaces what dies",
        lambda: settled.status(stack)["scraper"]["pid"] not in (None, before["scraper"]),
        seconds=5,
    )


def _supervisor(machine: Machine) -> int:
    lines = machine.sh(
        "docker exec tg2em-unified sh -c "
        "'for p in /proc/[0-9]*; do "
        'printf "%s " ${p#/proc/}; tr "\\0" " " <$p/cmdline 2>/dev/null; echo; done\''
    ).splitlines()
    # The guardian is process 1; the supervisor is the other process of the same package.
    found = [
        int(line.split()[0])
        for line in lines
        if "process_supervisor" in line and line.split()[0] != "1" and "health" not in line
    ]
    assert len(found) == 1, lines
    return found[0]


def test_a_stopped_service_stays_stopped(settled: Machine, stack: str) -> None:
    settled.sh(f"moorage stop {stack} scraper --reason 'a test'")
    try:
        kill(settled, _supervisor(settled))
        wait_until("the supervisor is back", lambda: settled.status(stack)["frontend"]["pid"])
        assert settled.status(stack)["scraper"]["state"] == "STOPPED"
        settled.sh("docker restart tg2em-unified")
        wait_until(
            "the front end is up after the restart",
            lambda: settled.status(stack)["frontend"]["health"] == "healthy",
            seconds=60,
        )
        scraper = settled.status(stack)["scraper"]
        assert (scraper["state"], scraper["wanted"]) == ("STOPPED", "down")
    finally:
        settled.sh(f"moorage start {stack} scraper")


def test_a_crash_loop_ends_fatal_and_can_be_seen(settled: Machine, stack: str) -> None:
    state = ""
    for _ in range(40):
        service = settled.status(stack)["scraper"]
        state = service["state"]
        if state == "FATAL":
            break
        if service["pid"]:
            settled.host.run(
                f"docker exec tg2em-unified python3 -c 'import os; os.kill({service['pid']}, 9)'"
            )
    service = wait_until(
        "the scraper is given up",
        lambda: (s := settled.status(stack)["scraper"])["state"] == "FATAL" and s,
        seconds=60,
    )
    assert "restart" in service["reason"]
    assert "FATAL" in settled.sh(f"moorage status {stack}")
    settled.sh(f"moorage start {stack} scraper")
    assert settled.status(stack)["scraper"]["state"] in ("STARTING", "RUNNING")
