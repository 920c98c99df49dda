"""What ends is started again, with its data; what somebody has stopped is not."""

from __future__ import annotations

import urllib.error
import urllib.request

from described import OWN, PUBLIC
from support import Machine, is_up, wait_until
from tg2em_site import ensure_content, kept

from devtool import testhost


def test_a_killed_process_is_started_again(settled: Machine, stack: str) -> None:
    before = settled.status(stack)["frontend"]["pid"]
    kill = f"import os; os.kill({before}, 9)"
    settled.sh(f"docker exec {stack}-unified python3 -c '{kill}'")

    def started_again() -> bool:
        now = settled.status(stack)["frontend"]
        return is_up(now) and now["pid"] != before

    wait_until("another process is up", started_again)
    assert settled.serves(*PUBLIC)


def test_the_host_restarts(settled: Machine, stack: str) -> None:
    ensure_content(settled)
    articles, containers = kept(settled), settled.container_ids(stack)
    settled.sh("touch /run/volatile")
    settled.sh(f"moorage stop {stack} scraper --reason 'a test'")
    try:
        settled.restart()
        wait_until("it serves", lambda: settled.serves(*PUBLIC), seconds=120)
        assert not settled.host.file("/run/volatile").exists, "it was a boot"
        assert settled.container_ids(stack) == containers, "no container had to be made anew"
        assert kept(settled) == articles
        services = settled.status(stack)
        assert {services[name]["state"] for name in OWN if name != "scraper"} == {"RUNNING"}
        assert (services["scraper"]["state"], services["scraper"]["wanted"]) == ("STOPPED", "down")
    finally:
        settled.sh(f"moorage start {stack} scraper")


def test_this_machine_reaches_what_the_host_publishes(settled: Machine) -> None:
    # The engine chooses the port anew at each start where none was asked for.
    found = testhost.find(settled.name)
    assert found is not None
    url = f"http://127.0.0.1:{found.published[5000]}/health"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.status == 200
    except urllib.error.URLError as trouble:
        raise AssertionError(f"{url}: {trouble}") from None
