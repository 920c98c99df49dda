"""The control API on a backend that is a list: bounds, rates, what is noted, and two as one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from control_rig import eventually
from gateway_rig import answer, ask, audit, receive, serving

from moorage.control import ControlError, ServiceStatus, State
from moorage.control.audit import Audit
from moorage.control.combine import Combined
from moorage.control.contract import Event
from moorage.control.merged import MergedBackend, Part
from moorage.control.process import _number, _text
from moorage.control.routes import Rates
from moorage.control.serving import Limits


class Listed:
    """Services by name, all of which run; `silent` says why it does not answer."""

    def __init__(self, *names: str) -> None:
        self.known = {name: ServiceStatus(name, State.RUNNING) for name in names}
        self.done: list[tuple[str, str, str, str]] = []
        self.trail: list[Event] = []
        self.silent = ""
        self.go = threading.Event()
        self.go.set()

    def _speak(self) -> None:
        self.go.wait(60)
        if self.silent:
            raise ControlError("unreachable", self.silent, status=503)

    def services(self) -> list[ServiceStatus]:
        self._speak()
        return list(self.known.values())

    def service(self, name: str) -> ServiceStatus:
        self._speak()
        if name not in self.known:
            raise ControlError("not_found", f"there is no service {name}", status=404)
        return self.known[name]

    def perform(self, action: Any, name: str, *, who: str, reason: str = "") -> ServiceStatus:
        self.done.append((action, name, who, reason))
        return self.service(name)

    def logs(self, name: str, *, stream: Any = "stdout", lines: int = 100, times: bool = False
             ) -> list[str]:  # fmt: skip
        self.service(name)
        return [f"{name} {stream} {lines} {times}"]

    def follow(self, name: str, **asked: Any) -> Iterator[str | None]:
        yield from self.logs(name, **asked)

    def events(self, *, since: int = 0, limit: int = 100) -> list[Event]:
        self._speak()
        return [event for event in self.trail if event.sequence > since][-limit:]


@pytest.fixture
def backend() -> Listed:
    """A stack of two services."""
    return Listed("web", "db")


@pytest.fixture
def path(backend: Listed, tmp_path: Path) -> Iterator[str]:
    """The socket of a server of it."""
    with serving(backend, tmp_path) as name:
        yield name


BY = {"who": "ada", "reason": "why"}


@pytest.mark.parametrize("action", ["start", "stop", "restart"])
def test_an_action_is_done_once_for_who_asked_and_noted(
    path: str, backend: Listed, tmp_path: Path, action: str
) -> None:
    status, _, said = ask(path, "POST", f"/v1/services/web/{action}", BY)
    assert (status, said["name"], said["state"]) == (200, "web", "running")
    assert backend.done == [(action, "web", "ada", "why")]
    (line,) = audit(tmp_path)
    assert (line["who"], line["action"], line["service"], line["result"]) == (
        "ada", action, "web", "done"
    )  # fmt: skip
    assert set(line["peer"]) == {"pid", "uid", "gid"}


REFUSED: list[tuple[str, str, object, int]] = [
    ("GET", "/v1/services/web/stop", None, 405),
    ("POST", "/v1/services/web", BY, 405),
    ("POST", "/v1/services", BY, 405),
    ("DELETE", "/v1/services/web/stop", BY, 405),
    ("POST", "/v1/services/other/stop", BY, 404),
    ("POST", "/v1/services/-web/stop", BY, 404),
    ("POST", "/v1/services/web/kill", BY, 404),
    ("POST", "/v1/services/web/stop/db", BY, 404),
    ("POST", "/services/web/stop", BY, 404),
    ("POST", "/v2/services/web/stop", BY, 404),
    ("POST", "/v1/services/web/stop?force=1", BY, 400),
    ("POST", "/v1/services/web/stop", None, 415),
    ("POST", "/v1/services/web/stop", {}, 400),
    ("POST", "/v1/services/web/stop", {"who": ""}, 400),
    ("POST", "/v1/services/web/stop", {"who": "a" * 65}, 400),
    ("POST", "/v1/services/web/stop", {"who": "a", "reason": "b" * 201}, 400),
    ("POST", "/v1/services/web/stop", {"who": "a\nb"}, 400),
    ("POST", "/v1/services/web/stop", {"who": "a", "what": "b"}, 400),
    ("POST", "/v1/services/web/stop", [], 400),
    ("GET", "/v1/services/web/logs?lines=2001", None, 400),
    ("GET", "/v1/services/web/logs?lines=-1", None, 400),
    ("GET", "/v1/services/web/logs?times=2", None, 400),
    ("GET", "/v1/services/web/logs?stream=both", None, 400),
    ("GET", "/v1/services/web/logs/follow?seconds=301", None, 400),
    ("GET", "/v1/events?limit=501", None, 400),
    ("GET", "/v1/events?limit=0", None, 400),
    ("GET", "/v1/events?since=1000000000000000", None, 400),
    ("GET", "/v1/services?all=1", None, 400),
]


@pytest.mark.parametrize(("method", "target", "content", "status"), REFUSED)
def test_everything_else_is_refused_and_nothing_is_done(
    path: str, backend: Listed, method: str, target: str, content: object, status: int
) -> None:
    assert ask(path, method, target, content)[0] == status
    assert backend.done == []


def test_what_is_at_a_bound_is_within_it(path: str, backend: Listed) -> None:
    longest = {"who": "a" * 64, "reason": "b" * 200}
    assert ask(path, "POST", "/v1/services/db/stop", longest)[0] == 200
    said = ask(path, "GET", "/v1/services/web/logs?lines=2000&times=1&stream=all")[2]
    assert said["lines"] == ["web all 2000 True"]
    assert ask(path, "GET", "/v1/services/web/logs?lines=0")[2]["lines"] == []
    assert ask(path, "GET", "/v1/services/web/logs")[2]["lines"] == ["web stdout 100 False"]
    for target in ("/v1/events?limit=500", "/v1/events?limit=1&since=999999999999999"):
        assert ask(path, "GET", target)[2]["events"] == []


def test_health_counts_what_runs(path: str, backend: Listed) -> None:
    backend.known["db"] = replace(backend.known["db"], state=State.FATAL)
    said = ask(path, "GET", "/v1/health")[2]
    assert (said["status"], said["services"], said["running"]) == ("ok", 2, 1)


def test_a_service_and_the_stack_have_their_rates_and_strangers_none(
    backend: Listed, tmp_path: Path
) -> None:
    with serving(backend, tmp_path, rates=Rates(3, 0.001, 2, 0.001)) as path:

        def act(name: str) -> int:
            status: int = ask(path, "POST", f"/v1/services/{name}/restart", BY)[0]
            return status

        assert [act(f"other{n}") for n in range(5)] == [404] * 5
        assert [act("web") for _ in range(3)] == [200, 200, 429]
        assert [act("db") for _ in range(2)] == [200, 429]
    assert len(backend.done) == 3
    results = [line["result"] for line in audit(tmp_path)]
    assert results.count("done") == 3 and results.count("denied") == 7


def test_nothing_is_done_that_cannot_be_noted(backend: Listed, tmp_path: Path) -> None:
    with serving(backend, tmp_path) as path:
        (tmp_path / "audit").unlink()
        (tmp_path / "audit").mkdir()
        status, _, problem = ask(path, "POST", "/v1/services/web/stop", BY)
        assert (status, problem["code"]) == (503, "audit_unavailable")
    assert backend.done == []


def test_a_flood_of_refusals_is_counted_and_not_written_down(tmp_path: Path) -> None:
    log = Audit(str(tmp_path / "audit"))
    for _ in range(200):
        log.refused({"uid": 1}, "GET /x", ControlError("not_found", "no", status=404))
    log.note(result="done")
    *denied, last = audit(tmp_path)
    assert 60 <= len(denied) < 200 and last["left_out"] == 200 - len(denied)
    assert (tmp_path / "audit").stat().st_mode & 0o7777 == 0o640


def test_who_finds_all_places_taken_is_told_so(backend: Listed, tmp_path: Path) -> None:
    limits = Limits(connections=2, read_seconds=30.0, linger_seconds=0.2)
    with serving(backend, tmp_path, limits=limits) as path:
        held = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for client in held:
            client.connect(path)

        def busy() -> bool:
            with socket.socket(socket.AF_UNIX) as one:
                one.settimeout(30)
                one.connect(path)
                status, _, problem = answer(receive(one))
            return (status, problem["code"]) == (503, "busy")

        assert busy() and busy()
        held[0].sendall(b"GET /v1/services HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(receive(held[0]))[0] == 200
        held[0].close()
        eventually(lambda: ask(path, "GET", "/v1/services")[0] == 200, "a place is free")
        held[1].close()


def test_whoever_is_slow_with_a_request_is_sent_away(backend: Listed, tmp_path: Path) -> None:
    limits = Limits(read_seconds=0.2, linger_seconds=0.2)
    with serving(backend, tmp_path, limits=limits) as path, socket.socket(socket.AF_UNIX) as slow:
        slow.settimeout(30)
        slow.connect(path)
        slow.sendall(b"GET /v1/serv")
        assert answer(receive(slow))[0] == 408


# -- two as one ---------------------------------------------------------------------------


@pytest.fixture
def both(backend: Listed) -> tuple[MergedBackend, Listed, Listed]:
    """Two backends that both have a database, as one, and each."""
    other = Listed("db", "cache")
    return MergedBackend(Part("supervisor", backend), Part("gateway", other)), backend, other


def test_a_service_is_the_first_ones_who_knows_it(both: Any) -> None:
    merged, first, second = both
    assert [s.name for s in merged.services()] == ["web", "db", "cache"]
    for name in ("db", "cache"):
        merged.perform("stop", name, who="ada")
    assert [first.done, second.done] == [
        [("stop", "db", "ada", "")],
        [("stop", "cache", "ada", "")],
    ]
    assert merged.logs("cache") == list(merged.follow("cache")) == ["cache stdout 100 False"]


def test_one_that_is_silent_is_a_row_and_both_are_an_error(both: Any) -> None:
    merged, first, second = both
    first.silent = "gone"
    rows = merged.services()
    assert [row.name for row in rows] == ["supervisor", "db", "cache"]
    assert "gone" in (rows[0].reason or "")
    assert merged.service("cache").name == "cache"
    with pytest.raises(ControlError, match="gone"):
        merged.service("web")
    second.silent = "gone too"
    for call in (merged.services, merged.events):
        with pytest.raises(ControlError, match="gone"):
            call()


def test_events_of_both_are_by_time_and_their_numbers_lead_on(both: Any) -> None:
    merged, first, second = both
    first.trail = [Event(n, float(2 * n), "web", "x") for n in range(1, 5)]
    second.trail = [Event(n, float(2 * n + 1), "db", "x") for n in range(1, 5)]
    whole = merged.events()
    assert [event.at for event in whole] == [float(n) for n in range(2, 10)]
    assert [e.at for e in merged.events(limit=3)] == [7.0, 8.0, 9.0]
    for at, event in enumerate(whole):
        assert merged.events(since=event.sequence) == whole[at + 1 :]


def test_who_asks_while_others_are_answered_gets_what_is_newer() -> None:
    calls, go, began = [0], threading.Semaphore(0), threading.Semaphore(0)

    def call() -> int:
        calls[0] += 1
        mine = calls[0]
        began.release()
        assert go.acquire(timeout=60)
        return mine

    shared, got = Combined(call), list[int]()
    threads = [threading.Thread(target=lambda: got.append(shared.get())) for _ in range(5)]
    threads[0].start()
    assert began.acquire(timeout=60)
    for thread in threads[1:]:
        thread.start()
    go.release()
    assert began.acquire(timeout=60)
    # Whoever comes when another call has begun waits for one more, as on a slow machine.
    for _ in threads:
        go.release()
    for thread in threads:
        thread.join(60)
    assert len(got) == 5 and got.count(1) == 1 and set(got) <= {*range(1, calls[0] + 1)}


def test_what_a_call_raises_is_raised_for_who_asked() -> None:
    def call() -> int:
        raise ControlError("timeout", "late")

    shared = Combined(call)
    for _ in range(2):
        with pytest.raises(ControlError, match="late"):
            shared.get()


def test_a_supervisor_may_say_anything_for_a_number() -> None:
    assert _number(None) is None and _text(None) is None
    assert (_number(5), _text(5)) == (5.0, "5")
    for beyond in (1e300, -1e300, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="beyond reason"):
            _number(beyond)
