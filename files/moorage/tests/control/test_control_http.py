"""The control API over HTTP on a real supervisor: what the panel gets of a server."""

import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from control_rig import ControlRig, eventually
from gateway_rig import answer, ask, audit, receive, serving

from moorage.control import ControlBackend, ControlError, ServiceStatus
from moorage.control.audit import Audit, Bucket
from moorage.control.combine import Combined
from moorage.control.connect import connect
from moorage.control.http import HttpBackend
from moorage.control.process import ProcessBackend
from moorage.control.routes import Rates
from moorage.control.serving import Limits


@pytest.fixture
def served(backend: ProcessBackend, tmp_path: Path) -> Iterator[HttpBackend]:
    """A client of a server in front of the supervisor."""
    with serving(backend, tmp_path) as path:
        yield HttpBackend(path)


def test_the_client_gives_what_the_backend_gives(
    served: HttpBackend, backend: ProcessBackend
) -> None:
    assert isinstance(served, ControlBackend)

    def stable(services: list[ServiceStatus]) -> list[tuple[Any, ...]]:
        return [(s.name, s.state, s.pid, s.exit, s.ports, s.reason, s.log_tail) for s in services]

    assert stable(served.services()) == stable(backend.services())
    assert stable([served.service("broken")]) == stable([backend.service("broken")])
    assert served.logs("talker", lines=2) == backend.logs("talker", lines=2) == ["one", "two"]
    assert served.logs("talker", stream="stderr") == ["problem"]
    assert served.logs("talker", lines=0) == []
    assert served.events(limit=5) == backend.events(limit=5)


def test_actions_are_done_and_noted(served: HttpBackend, tmp_path: Path) -> None:
    before = served.service("steady").pid
    after = served.perform("restart", "steady", who="ada 李", reason="why not")
    assert after.running and after.pid != before
    noted = audit(tmp_path)[-1]
    assert noted["at"] == pytest.approx(time.time(), abs=5)
    assert {k: noted[k] for k in ("who", "action", "service", "reason", "result", "state")} == {
        "who": "ada 李",
        "action": "restart",
        "service": "steady",
        "reason": "why not",
        "result": "done",
        "state": "running",
    }
    assert noted["peer"] == {"pid": os.getpid(), "uid": os.getuid(), "gid": os.getgid()}
    assert any(e.who == "ada 李" for e in served.events())


@pytest.mark.parametrize("name", ["nobody", "steady/stop", "..", "", "a b", "ä"])
def test_an_unknown_service_is_not_found(served: HttpBackend, name: str) -> None:
    calls: list[Any] = [
        lambda: served.service(name),
        lambda: served.perform("stop", name, who="ada"),
        lambda: served.logs(name),
        lambda: next(iter(served.follow(name))),
    ]
    for call in calls:
        with pytest.raises(ControlError) as caught:
            call()
        assert (caught.value.status, caught.value.code) == (404, "not_found")


def test_a_log_is_followed_as_it_is_written(served: HttpBackend, rig: ControlRig) -> None:
    with closing(_closable(served.follow("talker", lines=1))) as lines:
        first = next(lines)
        rig.say("later: \u2028 data: x")
        assert (first, next(lines)) == ("two", "later: \u2028 data: x")


def test_streams_end_when_they_should(served: HttpBackend) -> None:
    path = served._path
    begun = time.monotonic()
    whole = _stream(path, "/v1/services/talker/logs/follow?lines=1&seconds=0")
    assert whole.startswith(b"retry: 2000\n\nevent: line\ndata: ")
    assert time.monotonic() - begun < 10
    _stream(path, "/v1/services/steady/logs/follow?lines=0&seconds=1")
    assert 0.9 < time.monotonic() - begun < 20


def test_events_are_told_as_they_happen(served: HttpBackend) -> None:
    path = served._path
    last = served.events(limit=1)[-1].sequence
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(path)
        target = f"/v1/events/follow?since={last}&seconds=30"
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        served.perform("restart", "steady", who="ada")
        told = b""
        while b"running" not in told:
            data = connection.recv(65536)
            assert data, told
            told += data
    events = [json.loads(line[6:]) for line in told.split(b"\n") if line.startswith(b"data: ")]
    assert [e["sequence"] for e in events] == list(range(last + 1, last + 1 + len(events)))
    assert events[0]["who"] == "ada"
    assert f"id: {last + 1}\n".encode() in told


def test_metrics_are_prometheus_text(served: HttpBackend) -> None:
    served.perform("restart", "steady", who="ada")
    text = served.metrics()
    assert 'moorage_service_up{stack="s",service="steady"} 1\n' in text
    assert 'moorage_service_state{stack="s",service="broken",state="fatal"} 1\n' in text
    assert 'moorage_control_actions_total{action="restart",result="done"} 1\n' in text
    assert re.search(r'moorage_service_memory_bytes{stack="s",service="steady"} [1-9]\d+\n', text)
    sample = re.compile(r'[a-z_]+\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\} [0-9.e+-]+|# (HELP|TYPE) .+')
    assert [line for line in text.splitlines() if not sample.fullmatch(line)] == []


def test_health_counts(served: HttpBackend) -> None:
    assert served.health() == {
        "status": "ok",
        "stack": "s",
        "backend": "process",
        "services": 4,
        "running": 2,
    }


def test_actions_are_rated(backend: ProcessBackend, tmp_path: Path) -> None:
    with serving(backend, tmp_path, rates=Rates(3, 0.001, 2, 0.001)) as path:
        client = HttpBackend(path)
        for _ in range(2):
            client.perform("restart", "steady", who="ada")
        status, headers, problem = ask(
            path, "POST", "/v1/services/steady/restart", {"who": "ada", "reason": "again"}
        )
        assert (status, problem["code"]) == (429, "too_many_actions")
        assert 900 < int(headers["retry-after"]) <= 1000
        # Others, and whoever only looks, are not concerned.
        assert client.perform("restart", "talker", who="ada").running
        assert client.service("steady").running
        # Three were done, which is all that the stack may have at once; of its own, talker may.
        status, headers, problem = ask(
            path, "POST", "/v1/services/talker/restart", {"who": "bob", "reason": "too"}
        )
        assert (status, problem["code"]) == (429, "too_many_actions")
        assert 900 < int(headers["retry-after"]) <= 1000
    noted = [line for line in audit(tmp_path) if line["result"] == "denied"]
    assert [(line["service"], line["status"], line["reason"]) for line in noted] == [
        ("steady", 429, "again"),
        ("talker", 429, "too"),
    ]


def test_a_bucket_fills_again() -> None:
    now = [0.0]
    bucket = Bucket(2, 0.5, clock=lambda: now[0])
    assert [bucket.take(), bucket.take()] == [0, 0]
    assert bucket.take() == 2
    now[0] = 1.0
    assert bucket.take() == 1
    now[0] = 2.0
    assert bucket.take() == 0
    now[0] = 1000.0
    assert [bucket.take(), bucket.take(), bucket.take()] == [0, 0, 2]


def test_the_audit_log_may_be_moved_away(served: HttpBackend, tmp_path: Path) -> None:
    served.perform("restart", "steady", who="first")
    (tmp_path / "audit").rename(tmp_path / "audit.1")
    served.perform("restart", "steady", who="second")
    assert '"who":"first"' in (tmp_path / "audit.1").read_text()
    assert [line["who"] for line in audit(tmp_path)] == ["second"]


def test_nothing_is_done_that_cannot_be_noted(served: HttpBackend, tmp_path: Path) -> None:
    before = served.service("steady").pid
    (tmp_path / "audit").unlink()
    (tmp_path / "audit").mkdir()
    with pytest.raises(ControlError) as caught:
        served.perform("restart", "steady", who="ada")
    assert (caught.value.status, caught.value.code) == (503, "audit_unavailable")
    assert served.service("steady").pid == before
    (tmp_path / "audit").rmdir()
    assert served.perform("restart", "steady", who="ada").pid != before


def test_a_flood_of_refusals_does_not_fill_the_log(tmp_path: Path) -> None:
    log = Audit(str(tmp_path / "audit"), Bucket(3, 0.001))
    for _ in range(50):
        log.refused({"uid": 1}, "GET /x", ControlError("not_found", "no", status=404))
    log.note(result="done")
    lines = audit(tmp_path)
    assert [line["result"] for line in lines] == ["denied"] * 3 + ["done"]
    assert lines[-1]["left_out"] == 47


def test_places_are_bounded_and_freed(backend: ProcessBackend, tmp_path: Path) -> None:
    limits = Limits(connections=3, read_seconds=1.0, streams=1, linger_seconds=0.2)
    with serving(backend, tmp_path, limits=limits) as path:
        held = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in held:
            client.settimeout(10)
            client.connect(path)
        eventually(lambda: _status(path) == 503, "three places are taken")
        assert [answer(receive(client))[0] for client in held] == [408, 408, 408]
        for client in held:
            client.close()
        eventually(lambda: _status(path) == 200, "they are free again")
        with closing(_closable(HttpBackend(path).follow("talker", lines=1))) as lines:
            assert next(lines) is not None
            status, _, problem = ask(path, "GET", "/v1/services/talker/logs/follow")
            assert (status, problem["code"]) == (503, "busy")


def test_what_is_under_way_is_finished_at_the_end(rig: ControlRig, tmp_path: Path) -> None:
    slow = _Slow(rig.socket)
    found: list[int] = []
    with serving(slow, tmp_path) as path:
        thread = threading.Thread(target=lambda: found.append(_status(path)))
        thread.start()
        assert slow.asked.wait(10)
        threading.Timer(0.3, slow.go.set).start()
    thread.join(10)
    assert found == [200]
    assert not os.path.exists(path)


def test_a_defect_is_a_problem_and_no_crash(
    rig: ControlRig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = ProcessBackend(rig.socket)
    broken.services = lambda: [][1]  # type: ignore[method-assign]
    with serving(broken, tmp_path) as path:
        status, _, problem = ask(path, "GET", "/v1/services")
        assert (status, problem["code"]) == (500, "internal")
        assert "list index" not in json.dumps(problem)
        assert ask(path, "GET", "/v1/services/steady")[0] == 200
    assert "IndexError" in capfd.readouterr().err


def test_a_newer_server_takes_the_socket_over(backend: ProcessBackend, tmp_path: Path) -> None:
    (tmp_path / "control.sock").write_text("left by a crash")
    with serving(backend, tmp_path) as path:
        assert _status(path) == 200
        assert os.stat(path).st_mode & 0o777 == 0o660


def test_one_way_to_connect(
    served: HttpBackend, rig: ControlRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = served._path
    for address in (path, f"unix+http://{path}", rig.socket, f"unix+supervisor://{rig.socket}"):
        monkeypatch.setenv("MOORAGE_CONTROL_SOCKET", address)
        backend = connect()
        assert isinstance(backend, ControlBackend)
        assert [s.name for s in backend.services()] == ["steady", "broken", "once", "talker"]
        assert backend.perform("restart", "steady", who="ada").running
        assert backend.logs("talker", lines=1) == ["two"] or "later" in backend.logs("talker")[-1]
    for wrong in ("tcp://localhost:1", "relative/path"):
        with pytest.raises(ValueError, match="MOORAGE_CONTROL_SOCKET"):
            connect(wrong)


def test_connecting_may_come_before_anybody_answers(
    backend: ProcessBackend, tmp_path: Path
) -> None:
    early = connect(str(tmp_path / "control.sock"))
    with pytest.raises(ControlError) as caught:
        early.services()
    assert (caught.value.status, caught.value.code) == (503, "unreachable")
    with serving(backend, tmp_path):
        assert len(early.services()) == 4
    with pytest.raises(ControlError) as caught:
        early.services()
    assert caught.value.status == 503


def test_who_asks_later_is_told_later_facts() -> None:
    state = [0]
    gate = threading.Event()
    begun = threading.Semaphore(0)

    def look() -> int:
        found = state[0]
        begun.release()
        assert gate.wait(10)
        return found

    combined = Combined(look)
    found: dict[str, int] = {}
    first = threading.Thread(target=lambda: found.update(first=combined.get()))
    first.start()
    assert begun.acquire(timeout=10)
    state[0] = 1
    others = [
        threading.Thread(target=lambda n=n: found.update({str(n): combined.get()}))
        for n in range(20)
    ]
    for thread in others:
        thread.start()
    gate.set()
    for thread in (first, *others):
        thread.join(10)
    assert found.pop("first") == 0
    assert set(found.values()) == {1} and len(found) == 20


class _Slow(ProcessBackend):
    """Answers when it is told to."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.asked, self.go = threading.Event(), threading.Event()

    def services(self) -> list[ServiceStatus]:
        self.asked.set()
        assert self.go.wait(10)
        return super().services()


def _status(path: str) -> int:
    status: int = ask(path, "GET", "/v1/services")[0]
    return status


def _stream(path: str, target: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(path)
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        whole: bytes = receive(connection)
    return whole.partition(b"\r\n\r\n")[2]


def _closable(lines: Iterator[str | None]) -> Any:
    return lines
