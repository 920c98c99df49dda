"""The services as a stream: one who asks for all who look on."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from control_rig import ControlRig, eventually
from flask.testing import FlaskClient
from panel_site import application, signed_in
from werkzeug.test import TestResponse

from moorage.control import Event, ServiceStatus
from moorage.control.process import ProcessBackend
from moorage.panel.live import Watcher
from moorage.panel.stream import end_streams

JSON = {"Accept": "application/json"}


class Counting(ProcessBackend):
    """A backend that counts how often it is asked for everything."""

    asked = 0

    def services(self) -> list[ServiceStatus]:
        """Count and ask."""
        self.asked += 1
        return super().services()


class Announcing(Counting):
    """A backend that says at once when something has happened, as a gateway's does."""

    def wait(self, since: int, timeout: float) -> None:
        """Return when there is another event, or after so many seconds."""
        end = time.monotonic() + timeout
        while time.monotonic() < end and self._last() <= since:
            time.sleep(0.02)

    def _last(self) -> int:
        found: list[Event] = self.events(limit=1)
        return found[-1].sequence if found else 0


def chunks(answer: TestResponse) -> Iterator[str]:
    """The stream's pieces as they come."""
    return (str(chunk, "utf-8") for chunk in cast("Iterator[bytes]", iter(answer.response)))


def services(found: Iterator[str]) -> dict[str, Any]:
    """The next event that is about services."""
    for chunk in found:
        if chunk.startswith("event: services\n"):
            body: dict[str, Any] = json.loads(chunk.split("data: ", 1)[1])
            return body
    raise AssertionError("the stream has ended")


def of(body: dict[str, Any], name: str) -> dict[str, Any]:
    """One service of an event."""
    return next(service for service in body["services"] if service["name"] == name)


@pytest.fixture
def client(backend: ProcessBackend) -> FlaskClient:
    """Somebody who is signed in."""
    made: FlaskClient = signed_in(application(backend))
    return made


def test_the_stream_tells_the_truth_in_the_reader_s_language(
    backend: ProcessBackend, client: FlaskClient
) -> None:
    answer = client.get("/services/live", buffered=False)
    assert answer.content_type == "text/event-stream"
    body = services(chunks(answer))
    answer.close()

    steady = of(body, "steady")
    assert steady["texts"]["state"] == "running"
    assert steady["pid"] == backend.service("steady").pid
    assert steady["memory_bytes"] > 0 and steady["can"] == ["restart", "stop"]
    assert of(body, "broken")["log_tail"][-1] == "the disk is full"

    chinese = signed_in(application(backend, language="zh"))
    answer = chinese.get("/services/live", buffered=False)
    assert of(services(chunks(answer)), "steady")["texts"]["state"] == "运行中"
    answer.close()


def test_an_action_shows_at_once(backend: ProcessBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watcher.__init__, "__defaults__", (300.0,))
    client: FlaskClient = signed_in(application(backend))
    answer = client.get("/services/live", buffered=False)
    found = chunks(answer)
    before = of(services(found), "talker")["pid"]
    begun = time.monotonic()

    client.post("/services/talker/restart", headers=JSON)

    while of(services(found), "talker")["pid"] in (None, before):
        assert time.monotonic() < begun + 60, "long before the next question is due"
    answer.close()


def test_many_readers_cost_what_one_does(rig: ControlRig) -> None:
    backend = Counting(rig.socket)
    watcher = Watcher(backend, interval=0.3)
    ends = [watcher.subscribe()[1] for _ in range(20)]
    number = 0
    for _ in range(3):
        found = watcher.wait(number, 5)
        assert found is not None
        number = found.number
    assert backend.asked <= 6

    for end in ends:
        end()
    watching: Any = lambda: "panel-watch" in [t.name for t in threading.enumerate()]  # noqa: E731
    eventually(lambda: not watching(), "nobody asks any more")
    asked = backend.asked
    assert watcher.wait(number + 5, 0.4) is None
    assert backend.asked == asked


def test_a_backend_that_announces_is_not_waited_for(rig: ControlRig) -> None:
    backend = Announcing(rig.socket)
    watcher = Watcher(backend, interval=5.0)
    number, end = watcher.subscribe()
    assert number == 0
    first = watcher.wait(0, 5)
    assert first is not None
    backend.perform("restart", "talker", who="ada")
    second = watcher.wait(first.number, 2)
    assert second is not None and second.event > first.event
    end()


def test_a_backend_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    client = signed_in(application(ProcessBackend(str(tmp_path / "gone.sock"))))
    answer = client.get("/services/live", buffered=False)
    body = services(chunks(answer))
    answer.close()
    assert body["services"] == [] and "gone.sock" in body["problem"]


def test_streams_are_bounded_and_freed(backend: ProcessBackend) -> None:
    client = signed_in(application(backend, max_streams=1))
    first = client.get("/services/live", buffered=False)
    next(iter(first.response))
    assert client.get("/services/live", headers=JSON).status_code == 503
    # A log is another matter.
    log = client.get("/services/talker/log/stream", buffered=False)
    assert log.status_code == 200
    log.close()
    first.close()
    again = client.get("/services/live", buffered=False)
    assert again.status_code == 200
    again.close()


def test_streams_end_when_the_server_does(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moorage.panel import stream

    monkeypatch.setattr(stream, "_ending", threading.Event())
    answer = client.get("/services/live", buffered=False)
    found = chunks(answer)
    services(found)
    end_streams()
    begun = time.monotonic()
    assert all("problem" not in chunk for chunk in found)
    assert time.monotonic() - begun < 20
    answer.close()
