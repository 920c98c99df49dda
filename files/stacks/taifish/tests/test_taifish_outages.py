"""PostgreSQL and Redis restart under a site and a worker that go on."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from taifish import jobs
from taifish.config import Config
from taifish.db import Database
from taifish.jobs import Queue
from taifish_rig import Process, Servers, eventually, free_port, worker


class Site(Process):  # type: ignore[misc]
    """gunicorn, as compose.yml starts it."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        listen = {"LISTEN": self.url.removeprefix("http://")}
        arguments = ("-m", "gunicorn", "--config", "python:taifish.gunicorn", "taifish.wsgi:app")
        super().__init__(directory, {**environment, **listen}, *arguments)

    def ask(self, path: str) -> tuple[int, str]:
        """Return status and body; 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""


@pytest.fixture
def site(environment: dict[str, str], tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, environment)
    eventually(lambda: made.ask("/health/live")[0] == 200 or not made.running(), made.text())
    assert made.running(), made.text()
    yield made
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
    working = worker(tmp_path, environment)
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
        assert working.running() and site.running()
    finally:
        working.kill()


def bad(found: tuple[int, str]) -> tuple[int, str] | None:
    return found if found[0] == 503 else None


def test_a_stop_of_the_site_is_quick_and_clean(site: Site) -> None:
    site.terminate()
    assert site.wait(20) == 0
    assert "Traceback" not in site.text()
    assert "couldn't stop" not in site.text()
