"""The control API on a real supervisor."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from control_rig import ControlRig, eventually

from moorage.control import ControlBackend, ControlError, Health, State
from moorage.control import process as process_module
from moorage.control.process import ProcessBackend, service_status


def test_it_honours_the_contract(backend: ProcessBackend) -> None:
    assert isinstance(backend, ControlBackend)


def test_services_are_what_the_supervisor_has(backend: ProcessBackend) -> None:
    found = {service.name: service for service in backend.services()}

    assert list(found) == ["steady", "broken", "once", "talker"]
    steady = found["steady"]
    assert steady.state is State.RUNNING and steady.running
    assert steady.health is Health.NONE
    assert steady.ports == (5000,)
    assert steady.pid is not None and Path(f"/proc/{steady.pid}/comm").read_text() == "sleep\n"
    assert steady.memory_bytes and steady.uptime > 0
    once = found["once"]
    assert once.exit is not None and once.exit.code == 0 and not once.running


def test_a_failed_service_says_why(backend: ProcessBackend) -> None:
    broken = backend.service("broken")

    assert broken.state is State.FATAL
    assert broken.pid is None
    assert "restart_limit" in (broken.reason or "")
    assert "the disk is full" in broken.log_tail
    assert json.loads(json.dumps(broken.to_dict()))["log_tail"]


def test_stop_start_and_restart_change_the_process(backend: ProcessBackend) -> None:
    before = backend.service("steady").pid
    assert before is not None

    stopped = backend.perform("stop", "steady", who="ada", reason="maintenance")
    assert stopped.state is State.STOPPED and stopped.wanted == "down"
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)

    started = backend.perform("start", "steady", who="ada")
    assert started.running and started.pid not in (None, before)
    restarted = backend.perform("restart", "steady", who="ada")
    assert restarted.running and restarted.pid not in (None, started.pid)


def test_events_say_who_and_why(backend: ProcessBackend) -> None:
    last = backend.events()[-1].sequence
    backend.perform("restart", "steady", who="ada", reason="a new certificate")

    found = backend.events(since=last)
    assert found and all(event.sequence > last for event in found)
    assert {event.service for event in found} == {"steady"}
    assert any(event.who == "ada" for event in found)
    assert any("a new certificate" in (event.reason or "") for event in found)
    assert any("→ running" in event.message for event in found)


def test_logs_are_the_last_lines_of_each_stream(backend: ProcessBackend) -> None:
    assert backend.logs("talker", lines=2) == ["one", "two"]
    assert backend.logs("talker", lines=1) == ["two"]
    assert backend.logs("talker", stream="stderr") == ["problem"]


def test_follow_gives_what_is_there_and_then_what_comes(
    backend: ProcessBackend, rig: ControlRig
) -> None:
    with closing(_closable(backend.follow("talker", lines=1))) as lines:
        first = next(lines)
        rig.say("a line written later")
        assert (first, next(lines)) == ("two", "a line written later")


def test_follow_tells_that_nothing_comes(
    backend: ProcessBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "QUIET_SECONDS", 0.05)
    with closing(_closable(backend.follow("steady", lines=0))) as lines:
        assert next(lines) is None
        assert next(lines) is None


def test_closing_a_follower_frees_its_connection(backend: ProcessBackend, rig: ControlRig) -> None:
    def open_sockets() -> int:
        return sum("socket" in os.readlink(fd) for fd in _descriptors())

    before = open_sockets()
    followers = [_closable(backend.follow("talker", lines=1)) for _ in range(5)]
    for follower in followers:
        next(follower)
    assert open_sockets() == before + 5
    for follower in followers:
        follower.close()
    assert open_sockets() == before


@pytest.mark.parametrize("call", ["service", "perform", "logs", "follow"])
def test_an_unknown_service_is_not_found(backend: ProcessBackend, call: str) -> None:
    calls: dict[str, Any] = {
        "service": lambda: backend.service("nobody"),
        "perform": lambda: backend.perform("stop", "nobody", who="ada"),
        "logs": lambda: backend.logs("nobody"),
        "follow": lambda: next(iter(backend.follow("nobody"))),
    }
    with pytest.raises(ControlError) as caught:
        calls[call]()

    problem = caught.value.to_problem()
    assert problem["status"] == 404
    assert problem["type"] == "urn:moorage:problem:not_found"
    assert problem["service"] == "nobody"
    assert "nobody" in problem["detail"]


def test_without_a_supervisor_every_call_says_so(tmp_path: Path) -> None:
    backend = ProcessBackend(str(tmp_path / "nothing.sock"))

    calls: list[Any] = [
        backend.services,
        backend.events,
        lambda: backend.perform("stop", "frontend", who="ada"),
        lambda: next(iter(backend.follow("frontend"))),
    ]
    for call in calls:
        with pytest.raises(ControlError) as caught:
            call()
        assert caught.value.status == 503
        assert "nothing.sock" in caught.value.detail


def test_threads_share_one_backend(backend: ProcessBackend) -> None:
    seen: list[int] = []

    def ask() -> None:
        seen.extend(len(backend.services()) for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert seen == [4] * 160


def test_a_supervisor_that_goes_away_ends_the_log(tmp_path_factory: pytest.TempPathFactory) -> None:
    rig = ControlRig(tmp_path_factory.mktemp("d"))
    rig.start()
    lines = _closable(ProcessBackend(rig.socket).follow("talker", lines=1))
    assert next(lines) == "two"
    rig.stop()
    with pytest.raises(ControlError) as caught:
        eventually(lambda: next(lines) == "never", "the end")
    assert caught.value.status == 503


def test_a_status_without_the_optional_facts() -> None:
    found = service_status({"name": "x", "state": "BACKOFF"})

    assert found.state is State.BACKOFF
    assert (found.health, found.exit, found.ports) == (Health.NONE, None, ())


def _closable(lines: Iterator[str | None]) -> Any:
    return lines


def _descriptors() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{name}"
        if os.path.lexists(path):
            found.append(path)
    return found
