"""PostgreSQL and Redis restart under a site and a worker that go on."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from taifish import jobs
from taifish.config import SESSIONS, Config
from taifish.db import Database
from taifish.jobs import Queue
from taifish_rig import Servers, Site, beat, eventually, worker


@pytest.fixture
def site(environment: dict[str, str], tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, environment)
    try:
        made.wait_healthy()
        yield made
    finally:
        made.kill()


@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_an_outage_is_ridden_out(
    kind: str,
    site: Site,
    servers: Servers,
    environment: dict[str, str],
    config: Config,
    database: Database,
    queue: Queue,
    tmp_path: Path,
) -> None:
    working, ticking = worker(tmp_path, environment), beat(tmp_path, environment)
    try:
        jobs.enqueue_test(database, queue, 5)
        eventually(lambda: jobs.status(database, config, queue)["done"] == 5, working.text())
        servers.container("stop", kind)
        try:
            _, body = eventually(lambda: bad(site.ask("/health")), site.text())
            assert json.loads(body)["status"] == "failing"
            assert site.ask("/health/live")[0] == 200
            page = site.ask("/b/lobby")
            if kind == "postgres":
                assert (
                    page[0] == 503 and "Traceback" not in page[1] and "try again" in page[1].lower()
                )
        finally:
            servers.container("start", kind)
        eventually(servers.answer, f"{kind} is not back")
        eventually(lambda: site.ask("/health")[0] == 200, site.text())
        assert site.ask("/b/lobby")[0] == 200
        jobs.enqueue_test(database, queue, 5)
        eventually(lambda: jobs.status(database, config, queue)["done"] == 10, working.text())
        if kind == "redis":
            servers.redis(SESSIONS).delete(jobs.LAST_BEAT)
            eventually(lambda: jobs.status(database, config, queue)["last_beat"], ticking.text())
        assert working.running() and ticking.running() and site.running()
    finally:
        working.kill()
        ticking.kill()


def bad(found: tuple[int, str]) -> tuple[int, str] | None:
    return found if found[0] == 503 else None


def test_a_stop_of_the_site_is_quick_and_clean(site: Site) -> None:
    site.terminate()
    assert site.wait(20) == 0
    assert "Traceback" not in site.text()
    assert "couldn't stop" not in site.text()
