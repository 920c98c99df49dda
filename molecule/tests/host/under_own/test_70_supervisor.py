"""What an operator has decided or begun outlives the supervisor of the processes."""

from __future__ import annotations

import json

from own_supervisor import kill, nothing_beside, unit
from support import Machine, wait_until
from update_lost import STARTED_AS_PROCESS
from update_site import STACK as HARBOUR
from update_site import Harbour, Operator, wait_for_phase


def test_an_operators_stop_outlives_its_supervisor_and_the_file_that_says_so(
    settled: Machine,
) -> None:
    path = f"/var/lib/moorage/supervisor/{HARBOUR}/intents.json"
    web = settled.runs(HARBOUR)["harbour-web"]
    settled.sh(f"moorage stop {HARBOUR} worker --reason 'a test'")
    try:
        assert json.loads(settled.sh(f"cat {path}"))["stopped"] == ["worker-1"]
        for halve in ("true", f"truncate --size 9 {path}"):
            kill(settled, HARBOUR, 0, 1, meanwhile=halve)
            now = settled.status(HARBOUR)["worker"]
            assert (now["state"], now["wanted"]) == ("STOPPED", "down"), now
            assert settled.runs(HARBOUR)["harbour-web"] == web
        settled.sh(f"systemctl restart {unit(HARBOUR)}")
        wait_until(
            "the site is started",
            lambda: settled.status(HARBOUR)["web"]["health"] == "healthy",
            seconds=60,
        )
        assert settled.status(HARBOUR)["worker"]["state"] == "STOPPED"
        said = settled.sh(f"moorage events {HARBOUR}")
        assert "worker" in said and "a test" in said, said
    finally:
        settled.sh(f"moorage start {HARBOUR} worker")
    assert settled.status(HARBOUR)["worker"]["state"] == "RUNNING"


def test_an_update_goes_on_while_its_supervisor_is_killed(
    site: Harbour, operator: Operator
) -> None:
    version = operator.next_version()
    build = {"WEB_VERSION": version, "WORKER_VERSION": version}
    with site.visited() as visitors:
        with operator.updating(site.name, build) as process:
            wait_for_phase(site, process, "started", STARTED_AS_PROCESS)
            kill(site, HARBOUR, 0, 1)
            status = process.wait(timeout=300)
        assert status == 0, operator.said
        operator.build |= build
    visitors.seen.assert_none_failed(200)
    assert site.version() == site.beats()[-1].version == version
    wait_until("nothing runs twice", lambda: nothing_beside(site))
