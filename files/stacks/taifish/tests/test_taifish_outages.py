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


def test_outages_are_ridden_out(
    site: Site,
    servers: Servers,
    environment: dict[str, str],
    config: Config,
    database: Database,
    queue: Queue,
    tmp_path: Path,
) -> None:
    working, ticking = worker(tmp_path, environment), beat(tmp_path, environment)

    def work_off(done: int) -> None:
        """Have five more jobs done, and so many in all."""
        jobs.enqueue_test(database, queue, 5)
        eventually(lambda: jobs.status(database, config, queue)["done"] == done, working.text())

    try:
        work_off(5)
        for kind, done in (("postgres", 10), ("redis", 15)):
            servers.container("stop", kind)
            try:
                _, body = eventually(lambda: bad(site.ask("/health")), site.text())
                assert json.loads(body)["status"] == "failing"
                assert site.ask("/health/live")[0] == 200
                status, page = site.ask("/b/lobby")
                if kind == "postgres":
                    assert status == 503 and "Traceback" not in page
                    assert "try again" in page.lower()
            finally:
                servers.container("start", kind)
            eventually(servers.answer, f"{kind} is not back")
            eventually(lambda: site.ask("/health")[0] == 200, site.text())
            assert site.ask("/b/lobby")[0] == 200
            work_off(done)
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
