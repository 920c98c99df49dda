"""What visitors meet during a rollout, and which of it is the new release's doing."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, cast

import pytest

from moorage.deploy.release import Release
from moorage.deploy.traffic import BudgetSpent, Traffic
from moorage.edge import Edge
from moorage.edge.model import Settings
from moorage.release.manifest import parse


class Site:
    """A site that can be out of order."""

    def __init__(self) -> None:
        site = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                number = next(site.numbers)
                site.waiting.add(number)
                site.open.wait(60)
                site.waiting.discard(number)
                self.send_response(200 if site.well else 503)
                self.send_header("Content-Length", "0")
                self.send_header("X-Moorage-Peer", site.peer)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.well = True
        self.peer = ""
        self.numbers = itertools.count()
        # Who waits for an answer; while the site is not open, everybody does.
        self.waiting: set[int] = set()
        self.open = threading.Event()
        self.open.set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def keep_waiting(self, seconds: float) -> set[int]:
        """Answer nobody for some seconds; return who waits by then."""
        self.open.clear()
        deadline = time.monotonic() + 60
        while not self.waiting:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        threading.Timer(seconds, self.open.set).start()
        return set(self.waiting)

    def release(self) -> Release:
        """Return the part of a release that the prober reads."""
        port = self.server.server_address[1]
        manifest = {
            "topology": "containers",
            "edge": {
                "pools": {"web:5000": {"service": "web", "port": 5000}},
                "listeners": [{"port": port, "address": "", "pool": "web:5000"}],
                "domains": [],
                "routes": [],
            },
            "probe": {
                "rate": 100,
                "timeout_seconds": 2.0,
                "before_seconds": 0.1,
                "budget": 0,
                "p99_factor": 5.0,
                "p99_floor_seconds": 5.0,
                "targets": [{"service": "web", "port": 5000, "path": "/", "expect": [200, 399]}],
            },
        }
        return cast(Release, SimpleNamespace(manifest=parse(manifest), id="0123456789ab"))


@pytest.fixture
def site() -> Iterator[Site]:
    """A site, in order at first."""
    made = Site()
    yield made
    made.open.set()
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def traffic(site: Site) -> Iterator[Traffic]:
    """Visitors that have come, before and since a rollout has begun."""
    edge = SimpleNamespace(
        present=lambda: True,
        pools=lambda stack: {"web:5000": ["127.0.0.1:1"]},
        store=SimpleNamespace(settings=Settings),
    )
    made = Traffic("example", cast(Edge, edge))
    made.watch(site.release(), site.release())
    made.begin()
    yield made
    made.stop()


def wait_for(traffic: Traffic, window: str, failed: int) -> None:
    """Wait until so many failures were counted."""
    deadline = time.monotonic() + 60
    while sum(traffic.figures()[window].failed.values()) < failed:
        assert time.monotonic() < deadline, traffic.figures()
        time.sleep(0.02)


def test_what_fails_spends_the_budget(site: Site, traffic: Traffic) -> None:
    traffic.switched()
    traffic.judge()
    site.well = False
    wait_for(traffic, "during", 1)
    with pytest.raises(BudgetSpent):
        traffic.judge()


def test_what_fails_while_a_database_is_replaced_is_told_and_not_judged(
    site: Site, traffic: Traffic
) -> None:
    with traffic.apart():
        site.well = False
        time.sleep(0.2)
        # It is well some time after what it needs: so long it is waited for.
        threading.Timer(0.2, lambda: setattr(site, "well", True)).start()
    assert site.well
    traffic.judge()
    found = traffic.figures()
    assert found["in_place"].failed["status"] > 5
    assert sum(found["during"].failed.values()) == 0
    site.well = False
    wait_for(traffic, "during", 1)
    with pytest.raises(BudgetSpent):
        traffic.judge()


def test_nothing_is_replaced_before_those_on_their_way_have_their_answer(
    site: Site, traffic: Traffic
) -> None:
    before = site.keep_waiting(0.3)
    with traffic.apart():
        assert not before & site.waiting


def test_whom_the_edge_holds_meanwhile_is_waited_for(site: Site, traffic: Traffic) -> None:
    with traffic.apart(hold_seconds=30.0):
        # Longer than the prober's own timeout.
        site.keep_waiting(2.5)
        assert site.open.wait(60)
    found = traffic.figures()["in_place"]
    assert found.requests > 0 and sum(found.failed.values()) == 0


def test_what_the_old_one_does_while_the_new_one_starts_is_told_and_not_judged(
    site: Site, traffic: Traffic
) -> None:
    site.peer = "127.0.0.1:1"
    traffic.replacing([site.peer])
    # Whoever came before has had his answer.
    assert traffic.figures()["before"].requests > 0
    site.well = False
    wait_for(traffic, "during", 3)
    traffic.judge()
    assert traffic.judged() == {"judged": False, "too_busy": ""}
    traffic.switched(["127.0.0.1:2"])
    # One replica of two is new: what the other one does is not its fault.
    wait_for(traffic, "during", sum(traffic.figures()["during"].failed.values()) + 3)
    traffic.judge()
    site.peer = "127.0.0.1:2"
    with pytest.raises(BudgetSpent):
        traffic.monitor(1.0, list)
    assert traffic.judged() == {"judged": True, "too_busy": ""}
    assert traffic.figures()["judged"].failures > 0
    assert traffic.figures()["judged"].failures < traffic.figures()["during"].failures


def test_what_comes_in_the_place_of_the_old_one_is_judged_at_the_same_address(
    site: Site, traffic: Traffic
) -> None:
    site.peer = "127.0.0.1:1"
    traffic.replacing([site.peer])
    traffic.switched([site.peer])
    traffic.monitor(0.2, list)
    assert traffic.judged() == {"judged": True, "too_busy": ""}
    site.well = False
    with pytest.raises(BudgetSpent):
        traffic.monitor(1.0, list)


@pytest.mark.parametrize("last", [1, 11])
def test_what_is_cut_when_the_time_to_leave_is_over_is_counted(traffic: Traffic, last: int) -> None:
    edge = cast(Any, traffic._edge)
    edge.in_flight = lambda peers: {"127.0.0.1:1": last, "127.0.0.1:2": 0}
    assert traffic.drain(["127.0.0.1:1", "127.0.0.1:2"], 0.0) == {"127.0.0.1:1": last}
    assert traffic.cut == last


def test_the_last_one_in_flight_is_waited_for(traffic: Traffic) -> None:
    left = [2, 1, 1, 0]
    cast(Any, traffic._edge).in_flight = lambda peers: {"127.0.0.1:1": left.pop(0)}
    assert traffic.drain(["127.0.0.1:1"], 60.0) == {}
    assert not left and traffic.cut == 0
