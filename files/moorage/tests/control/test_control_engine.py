"""What the gateway asks of an engine, by a stand-in for it: of a stack's own containers alone."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage.control import docker_logs
from moorage.control.contract import ControlError, State
from moorage.control.docker_backend import DockerBackend
from moorage.control.docker_events import EngineJournal
from moorage.control.docker_status import container_status, timestamp_ns
from moorage.control.engine import Engine
from moorage.control.journal import exit_status
from moorage.control.membership import Membership
from moorage.release.manifest import FORMAT, Manifest, Service, Unit, text_of

ID = "0123456789abcdef" * 4
LABELS = {
    "moorage.stack": "shop",
    "moorage.service": "web",
    "com.docker.compose.project": "shop",
    "com.docker.compose.service": "web",
}


def container(**more: Any) -> dict[str, Any]:
    """Return what an engine says of a container that has ended well."""
    state = {"Status": "exited", "Running": False, "Pid": 0, "ExitCode": 0,
             "StartedAt": "2026-01-01T00:00:00Z", "FinishedAt": "2026-01-01T00:00:05Z"}  # fmt: skip
    return {
        "Id": ID, "Name": "/shop-web", "State": state | more.pop("State", {}),
        "Config": {"Labels": LABELS, "Image": "web:1", "Tty": False},
        "HostConfig": {"RestartPolicy": {"Name": "no"}}, **more,
    }  # fmt: skip


class StandIn:
    """An engine that answers what it was told to, and keeps what it was asked."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "e.sock")
        self.asked: list[str] = []
        self.answers: dict[str, tuple[int, Any]] = {}
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                method, target, _ = self.rfile.readline().decode().split()
                what = f"{method} {target.partition('?')[0].removeprefix('/v1.40')}"
                if target != "/_ping":
                    outer.asked.append(what)
                status, said = outer.answers.get(what, (200 if target == "/_ping" else 404, {}))
                body = said if isinstance(said, bytes) else json.dumps(said).encode()
                head = f"HTTP/1.0 {status} x\r\nApi-Version: 1.40\r\nContent-Length: {len(body)}"
                self.wfile.write(f"{head}\r\n\r\n".encode() + body)

        self.server = socketserver.ThreadingUnixStreamServer(self.path, Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def knows(self, found: dict[str, Any]) -> None:
        """Have it know one container by the name of the service's."""
        self.answers["GET /containers/shop-web/json"] = (200, found)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[StandIn]:
    """An engine without a container."""
    made = StandIn(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def membership(tmp_path: Path) -> Membership:
    """A stack with one service."""
    service = Service("web", ports=(80,), containers=("shop-web",))
    unit = Unit("shop-web", "web", "0123", rolled=False, keys={"": "web"})
    path = tmp_path / "release.json"
    path.write_text(text_of(Manifest("containers", FORMAT, services=(service,), units=(unit,))))
    return Membership("shop", path)


@pytest.fixture
def journal(engine: StandIn, membership: Membership, tmp_path: Path) -> EngineJournal:
    """Its events."""
    return EngineJournal(Engine(engine.path), membership, "shop", str(tmp_path / "events.jsonl"))


@pytest.fixture
def backend(engine: StandIn, membership: Membership, journal: EngineJournal) -> DockerBackend:
    """What controls it."""
    return DockerBackend(Engine(engine.path), membership, journal)


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_an_action_is_one_request_about_one_id(engine: StandIn, verb: Any) -> None:
    target = f"POST /containers/{ID}/{verb}"
    for status in (204, 304):
        engine.answers[target] = (status, b"")
        Engine(engine.path).act(verb, ID, 5)
    assert engine.asked == [target] * 2


@pytest.mark.parametrize(
    ("status", "code", "shown"),
    [(404, "not_found", 404), (409, "engine_refused", 409), (500, "engine_refused", 502),
     (200, "unreachable", 503)],
)  # fmt: skip
def test_what_the_engine_refuses_is_no_success(
    engine: StandIn, status: int, code: str, shown: int
) -> None:
    engine.answers[f"POST /containers/{ID}/stop"] = (
        status, {"message": "no"} if status != 200 else b"no JSON"
    )  # fmt: skip
    with pytest.raises(ControlError) as refused:
        Engine(engine.path).act("stop", ID, 5)
    assert (refused.value.code, refused.value.status) == (code, shown)
    assert status == 200 or refused.value.detail == "no"


@pytest.mark.parametrize("name", ["", "a", "a/../b", "a?x=1", "-a", "../x", f"{ID}/json#", "ä"])
def test_nothing_else_gets_into_a_request(engine: StandIn, name: str) -> None:
    asked = Engine(engine.path)
    with pytest.raises(ValueError, match="no container's name"):
        asked.inspect(name)
    for call in (lambda: asked.act("stop", name, 5), lambda: asked.usage(name)):
        with pytest.raises(ValueError, match="no container's id"):
            call()
    with pytest.raises(ValueError, match="no container's id"):
        list(asked.logs(name, 5))
    assert engine.asked == []


def test_without_an_engine_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(ControlError) as refused:
        Engine(str(tmp_path / "nobody")).act("stop", ID, 5)
    assert (refused.value.code, refused.value.status) == ("unreachable", 503)


STRANGERS = [
    {"Name": "/shop-web-2"},
    *[{"Config": {"Labels": {**LABELS, label: "other"}, "Image": "x"}} for label in LABELS],
    {"Config": {"Labels": None, "Image": "x"}},
]


@pytest.mark.parametrize("foreign", STRANGERS)
def test_a_stranger_under_the_name_is_neither_touched_nor_shown(
    engine: StandIn, backend: DockerBackend, journal: EngineJournal, foreign: dict[str, Any]
) -> None:
    engine.knows(container(**foreign))
    for action in ("start", "stop", "restart"):
        with pytest.raises(ControlError, match=r"made by a deploy|does not exist"):
            backend.perform(action, "web", who="ada")
    with pytest.raises(ControlError, match=r"made by a deploy|does not exist"):
        backend.logs("web")
    status = backend.service("web")
    assert (status.state, status.wanted, status.image) == (State.STOPPED, "down", None)
    assert {asked.partition(" ")[0] for asked in engine.asked} == {"GET"}
    assert journal.since(0, 10) == []


def test_who_asked_is_noted_before_it_is_done(
    engine: StandIn, backend: DockerBackend, journal: EngineJournal
) -> None:
    engine.knows(container())
    engine.answers[f"POST /containers/{ID}/start"] = (500, {"message": "no room"})
    with pytest.raises(ControlError, match="no room"):
        backend.perform("start", "web", who="ada", reason="again")
    (event,) = journal.since(0, 10)
    assert (event.kind, event.service, event.who, event.reason) == (
        "request",
        "web",
        "ada",
        "again",
    )
    assert event.message == "op start"


def entry(action: str, at: int, **attributes: Any) -> dict[str, Any]:
    """Return an event as the engine tells it."""
    return {"timeNano": at, "Action": action, "Actor": {"Attributes": attributes}}


def test_events_of_strangers_are_none_and_each_is_told_once(
    journal: EngineJournal, tmp_path: Path, membership: Membership
) -> None:
    now = journal._last_ns
    own = {"name": "shop-web", **LABELS}
    for number, foreign in enumerate([{"name": "shop-web-2"}, {"moorage.service": "db"}], 1):
        journal._take(entry("die", now + number, **{**own, **foreign, "exitCode": "9"}))
    assert journal.since(0, 10) == [] and journal.last_exit("web") is None
    for _ in range(2):
        journal._take(entry("die", now + 10, **own, exitCode="137"))
    journal._take(entry("oom", now + 20, **own))
    journal._take(entry("start", now + 15, **own))
    found = journal.since(0, 10)
    assert [(e.kind, e.service, e.message) for e in found] == [
        ("state", "web", "→ exited, code 137"), ("oom", "web", "")
    ]  # fmt: skip
    seen = journal.last_exit("web")
    assert seen is not None and (seen.code, seen.signal) == (None, 9)
    assert journal.short_of_memory("web") == (now + 20) / 1e9
    # The next gateway knows it, and hears none of it again.
    later = EngineJournal(Engine("/nobody"), membership, "shop", str(tmp_path / "events.jsonl"))
    assert later.last_exit("web") == seen
    assert later.short_of_memory("web") == (now + 20) / 1e9
    later._take(entry("die", now + 20, **own, exitCode="1"))
    assert len(later.since(0, 10)) == 2


def test_a_status_is_what_the_engine_says(membership: Membership) -> None:
    member = membership.member("web")
    running = {"Status": "running", "Running": True, "Pid": 7, "Health": {"Status": "unhealthy"}}
    began = (timestamp_ns("2026-01-01T00:00:00Z") or 0) / 1e9
    status = container_status(
        member, container(State=running, RestartCount=3), now=began + 2.5, last_exit=None
    )
    assert (status.state, status.health, status.wanted) == (State.RUNNING, "unhealthy", "up")
    assert (status.pid, status.uptime, status.restarts) == (7, 2.5, 3)
    assert (status.ports, status.image, status.exit) == ((80,), "web:1", None)
    well = container_status(member, container(State={**running, "Health": None}), now=0.0)
    assert (well.health, well.uptime) == ("none", 0.0)
    ended = container_status(member, container(State={"ExitCode": 3}), now=began)
    assert (ended.pid, ended.uptime, ended.started_at, ended.health) == (None, 0.0, None, "none")
    assert ended.exit == exit_status(3, began + 5)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("1970-01-01T00:00:01.5Z", 1_500_000_000), ("1970-01-01T00:00:01.000000001Z", 1_000_000_001),
     ("1970-01-01T00:00:02Z", 2_000_000_000), ("0001-01-01T00:00:00Z", None), ("", None)],
)  # fmt: skip
def test_times_keep_their_nanoseconds_and_never_is_none(text: str, nanoseconds: int | None) -> None:
    assert timestamp_ns(text) == nanoseconds


class Lines:
    """An engine whose container has written to both streams in turn."""

    def __init__(self, count: int) -> None:
        self.frames = [self._frame(n % 2 + 1, n) for n in range(count)]
        self.asked: list[int] = []

    @staticmethod
    def _frame(stream: int, number: int) -> bytes:
        text = f"2026-01-01T00:00:00.{number:09}Z line {number}\n".encode()
        return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text

    def logs(self, _: str, lines: int) -> Iterator[bytes]:
        self.asked.append(lines)
        return iter(self.frames[-lines:])


@pytest.mark.parametrize(("there", "asked"), [(100, [5, 20]), (4, [5]), (5, [5, 20])])
def test_the_end_of_one_stream_is_found_behind_the_other_one(there: int, asked: list[int]) -> None:
    engine: Any = Lines(there)
    found = docker_logs.tail(engine, ID, False, "stderr", 5)
    wanted = [f"line {n}" for n in range(there) if n % 2][-5:]
    assert [line.text(False) for line in found.lines] == wanted
    assert engine.asked == asked
