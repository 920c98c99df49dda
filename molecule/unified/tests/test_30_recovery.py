"""What dies comes back; what was stopped stays stopped; what cannot live is said to be dead."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from described import HEALTH_URLS, OWN
from support import Machine, wait_until
from tg2em_site import administrator

RECOVERY = Path(__file__).parents[2] / "tests/recovery.py"
UNIFIED = "tg2em-unified"
# In milliseconds: less than anything that waits, more than a busy machine takes.
WAITED = 5000
Figure = Callable[[str], None]


def kill(machine: Machine, pid: int) -> None:
    """Kill a process inside the unified container."""
    machine.sh(f"docker exec {UNIFIED} python3 -c 'import os; os.kill({pid}, 9)'")


@pytest.mark.parametrize("name", OWN)
def test_a_killed_service_is_replaced_at_once(
    settled: Machine, stack: str, name: str, figure: Figure
) -> None:
    url = HEALTH_URLS.get(name, "")
    (seen,) = json.loads(
        settled.python(RECOVERY, "service", name, "1", *([url] if url else []), container=UNIFIED)
    )
    figure(f"{name} killed: new process after {seen['process']} ms, serving {seen['serving']} ms")
    assert seen["process"] < WAITED
    assert seen["restarts"] == 1


def test_a_killed_database_comes_back_at_once(settled: Machine, stack: str, figure: Figure) -> None:
    inspect = "docker inspect -f '{{.State.Pid}} {{.State.StartedAt}}' tg2em-mysql"
    before = settled.sh(inspect).split()[0]
    killed = float(settled.sh(f"date +%s.%N; kill -9 {before}"))
    after = wait_until(
        "it has a new process",
        lambda: (now := settled.sh(inspect).split())[0] not in ("0", before) and now,
        seconds=20,
    )
    # The engine's own note, to the microsecond: looking at it takes longer than what it measures.
    seconds = datetime.fromisoformat(after[1][:26] + "+00:00").timestamp() - killed
    figure(f"database killed: new process after {seconds * 1000:.0f} ms")
    assert seconds < 10
    wait_until("the front end reaches it again", lambda: settled.serves(5000), seconds=60)


def test_services_outlive_their_supervisor(settled: Machine, stack: str, figure: Figure) -> None:
    before = settled.runs(stack)
    seen = json.loads(settled.python(RECOVERY, "supervisor", "3", container=UNIFIED))
    figure(f"supervisor killed: another answers after {[s['supervisor'] for s in seen]} ms")
    assert all(s["supervisor"] < WAITED for s in seen)
    assert settled.runs(stack) == before
    pid = settled.status(stack)["scraper"]["pid"]
    kill(settled, pid)
    wait_until(
        "the new supervisor replaces what dies",
        lambda: settled.status(stack)["scraper"]["pid"] not in (None, pid),
        seconds=5,
    )


def test_a_stopped_service_stays_stopped_without_its_supervisor(
    settled: Machine, stack: str
) -> None:
    settled.sh(f"moorage stop {stack} scraper --reason 'a test'")
    try:
        settled.python(RECOVERY, "supervisor", "1", container=UNIFIED)
        scraper = settled.status(stack)["scraper"]
        assert (scraper["state"], scraper["wanted"]) == ("STOPPED", "down")
    finally:
        settled.sh(f"moorage start {stack} scraper")


def test_a_crash_loop_is_slowed_down_and_can_be_seen(settled: Machine, stack: str) -> None:
    script = RECOVERY.with_name("crash_loop.py")
    someone = administrator(settled)
    # Its file says `unless-stopped`: it is never given up.
    settled.python(script, "scraper", container=UNIFIED)
    service = settled.status(stack)["scraper"]
    assert service["state"] == "BACKOFF" and service["pid"] is None
    assert "SIGKILL" in service["reason"]
    assert "BACKOFF" in settled.sh(f"moorage status {stack}")
    shown = json.loads(someone.get("/admin/services/scraper/status").text)
    assert shown["state"] == "backoff" and shown["reason"] == service["reason"]
    assert service["reason"] in someone.get("/admin").text
    others = {n: s for n, s in settled.status(stack).items() if n != "scraper"}
    assert all(s["state"] in ("RUNNING", "EXITED") for s in others.values())
    settled.sh(f"moorage start {stack} scraper")
    assert settled.status(stack)["scraper"]["state"] == "RUNNING"
