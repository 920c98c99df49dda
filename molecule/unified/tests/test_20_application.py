"""What the application is for: an article travels from a channel's page to a visitor."""

from __future__ import annotations

import json

from support import Machine, wait_until
from tg2em_articles import *  # noqa: F403 - these are tests of this scenario, too
from tg2em_site import administrator


def test_the_admin_page_stops_and_starts_a_real_process(settled: Machine, stack: str) -> None:
    before = settled.status(stack)["scraper"]["pid"]
    someone = administrator(settled)
    someone.post("/admin/services/scraper/stop", "/admin")
    stopped = settled.status(stack)["scraper"]
    assert (stopped["state"], stopped["pid"]) == ("STOPPED", None)
    assert settled.host.run(f"docker exec tg2em-unified test -e /proc/{before}").rc != 0

    settled.sh("docker restart tg2em-unified")
    wait_until(
        "the front end is back",
        lambda: settled.status(stack)["frontend"]["health"] == "healthy",
        seconds=60,
    )
    assert settled.status(stack)["scraper"]["state"] == "STOPPED", "what was stopped stays stopped"

    someone.post("/admin/services/scraper/start", "/admin")
    started = settled.status(stack)["scraper"]
    assert started["state"] == "RUNNING"
    shown = json.loads(someone.get("/admin/services/scraper/status").text)
    assert (shown["state"], shown["pid"]) == ("running", started["pid"])
