"""The panel: what it does is done to the real containers, and what is refused has its reason."""

from __future__ import annotations

import json
from typing import Any

from playbook import play
from support import Machine, wait_until
from tg2em_site import administrator


def inspected(machine: Machine, container: str) -> dict[str, Any]:
    """Return the state of a container as the engine has it."""
    shown: dict[str, Any] = json.loads(
        machine.sh(f"docker inspect -f '{{{{json .State}}}}' {container}")
    )
    return shown


def test_the_admin_page_shows_what_the_engine_has(settled: Machine, stack: str) -> None:
    someone = administrator(settled)
    for name in ("frontend", "mysql", "scraper", "tgstate"):
        shown = json.loads(someone.get(f"/admin/services/{name}/status").text)
        state = inspected(settled, settled.container_of(stack, name))
        assert (shown["state"], shown["pid"]) == ("running", state["Pid"]), name
        assert shown["memory_bytes"] > 1_000_000, name
        assert name in someone.get("/admin").text


def test_what_the_admin_page_stops_stays_stopped(settled: Machine, stack: str) -> None:
    container = settled.container_of(stack, "scraper")
    someone = administrator(settled)
    try:
        someone.post("/admin/services/scraper/stop", "/admin", reason="a test")
        stopped = inspected(settled, container)
        assert (stopped["Status"], stopped["Pid"]) == ("exited", 0)
        assert settled.status(stack)["scraper"]["state"] == "STOPPED"

        settled.sh("systemctl restart docker")
        played = play("site.yml").ok
        assert played.count("changed") == 0, played.output
        assert inspected(settled, container)["StartedAt"] == stopped["StartedAt"]
        assert settled.status(stack)["scraper"]["state"] == "STOPPED"
    finally:
        someone.post("/admin/services/scraper/start", "/admin", reason="the test is over")
    started = inspected(settled, container)
    assert started["Status"] == "running" and started["StartedAt"] != stopped["StartedAt"]


def test_the_admin_page_restarts_a_container(settled: Machine, stack: str) -> None:
    container = settled.container_of(stack, "tgstate")
    before = inspected(settled, container)
    administrator(settled).post("/admin/services/tgstate/restart", "/admin", reason="a new one")
    after = inspected(settled, container)
    assert after["Status"] == "running" and after["StartedAt"] != before["StartedAt"]
    assert after["Pid"] != before["Pid"]


def test_who_asked_and_why_is_in_the_audit_trail(settled: Machine, stack: str) -> None:
    someone = administrator(settled)
    someone.post("/admin/services/scraper/restart", "/admin", reason="see the trail")
    lines = settled.sh(f"cat /var/log/moorage/gateway/{stack}/audit.jsonl").splitlines()
    last = json.loads(lines[-1])
    assert {key: last[key] for key in ("who", "action", "service", "reason", "result")} == {
        "who": "admin",
        "action": "restart",
        "service": "scraper",
        "reason": "see the trail",
        "result": "done",
    }
    assert last["peer"]["uid"] == 10001
    events = settled.sh(f"moorage events {stack}")
    assert "see the trail" in events


def test_a_gateway_that_is_killed_comes_back(settled: Machine, stack: str) -> None:
    unit = f"moorage-gateway-{stack}.service"
    show = f"systemctl show --property MainPID --value {unit}"
    before = settled.sh(show)
    runs = settled.runs(stack)
    settled.sh(f"systemctl kill --signal KILL {unit}")
    wait_until(
        "it has another process and is ready",
        lambda: (
            settled.sh(show) not in ("0", before)
            and settled.sh(f"systemctl show --property ActiveState --value {unit}") == "active"
        ),
        seconds=20,
    )
    someone = administrator(settled)
    shown = json.loads(someone.get("/admin/services/scraper/status").text)
    assert shown["state"] == "running"
    assert settled.runs(stack) == runs
    someone.post("/admin/services/scraper/restart", "/admin")
    after = settled.runs(stack)
    assert {name for name in runs if runs[name] != after[name]} == {"scraper"}


def test_without_the_gateway_the_site_serves_and_the_panel_says_so(
    settled: Machine, stack: str
) -> None:
    unit = f"moorage-gateway-{stack}.service"
    runs = settled.runs(stack)
    settled.sh(f"systemctl stop {unit}")
    try:
        assert settled.serves(5000, 8088)
        someone = administrator(settled)
        page = someone.get("/admin")
        assert page.status == 200 and "control.sock" in page.text, page.text
        asked = someone.get("/admin/services/scraper/status", accept="application/json")
        assert asked.status == 503
        assert asked.headers["Content-Type"] == "application/problem+json"
        assert json.loads(asked.text)["type"] == "urn:moorage:problem:unreachable"
        assert settled.status(stack)["gateway"]["state"] == "UNREACHABLE"
    finally:
        settled.sh(f"systemctl start {unit}")
    shown = json.loads(administrator(settled).get("/admin/services/scraper/status").text)
    assert shown["state"] == "running"
    assert settled.runs(stack) == runs
