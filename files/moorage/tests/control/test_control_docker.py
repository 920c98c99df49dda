"""The control API on real containers, compared with what the Docker SDK says of them."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from control_rig import eventually
from docker.models.containers import Container
from gateway_rig import ENGINE, LOOP, STACK, Gateway, Stack

from moorage.control import ControlBackend, ControlError, Health, State
from moorage.control.connect import connect
from moorage.control.docker_backend import DockerBackend
from moorage.control.docker_events import EngineJournal
from moorage.control.engine import Engine
from moorage.control.membership import Membership

FAILS = {"restart_policy": {"Name": "on-failure", "MaximumRetryCount": 1}}
CHECK = {"test": ["CMD", "cat", "/healthy"], "interval": 10**8, "timeout": 10**9, "retries": 1}


@pytest.fixture(scope="module")
def web(stack: Stack) -> Container:
    """The service that most of this is about; made with the others."""
    made: Container = stack.add("web", ports=(8080, 9090))
    stack.add("broken", "echo no disk >&2; exit 3", **FAILS)
    stack.add("once", "exit 0", **FAILS)
    stack.add("later", start=False, on_demand=True)
    stack.add("checked", f"echo yes > /healthy; {LOOP}", healthcheck=CHECK)
    return made


@pytest.fixture
def control(web: Container, gateway: Gateway) -> ControlBackend:
    """The panel's way to it: over HTTP, through the gateway."""
    return connect(f"unix+http://{gateway.socket}")


def test_services_are_the_releases_in_its_order(control: ControlBackend) -> None:
    assert [s.name for s in control.services()] == ["web", "broken", "once", "later", "checked"]


def test_a_status_says_what_the_engine_says(control: ControlBackend, web: Container) -> None:
    found = control.service("web")

    web.reload()
    assert found.pid == web.attrs["State"]["Pid"]
    assert Path(f"/proc/{found.pid}/cgroup").read_text().count(str(web.id)) > 0
    assert (found.state, found.health, found.wanted) == (State.RUNNING, Health.NONE, "up")
    assert found.image == f"{STACK}:tiny"
    assert found.ports == (8080, 9090)
    assert found.started_at == pytest.approx(time.time() - found.uptime, abs=0.5)
    usage: Any = web.stats(stream=False)
    memory = usage["memory_stats"]
    cache = memory["stats"].get("total_inactive_file", memory["stats"].get("inactive_file"))
    assert found.memory_bytes == pytest.approx(memory["usage"] - cache, abs=2 << 20)
    assert found.cpu_percent is not None


def test_states_of_containers_that_do_not_run(control: ControlBackend) -> None:
    def state(name: str) -> State:
        return control.service(name).state

    eventually(lambda: state("broken") is State.FATAL, "broken is given up")
    broken = control.service("broken")
    assert broken.exit is not None and broken.exit.code == 3 and broken.pid is None
    assert broken.restarts == 1
    assert "exit code 3" in (broken.reason or "")
    eventually(lambda: state("once") is State.EXITED, "once has ended")
    later = control.service("later")
    assert (later.state, later.wanted, later.exit) == (State.STOPPED, "down", None)


def test_health_is_the_containers_own(control: ControlBackend) -> None:
    eventually(lambda: control.service("checked").health is Health.HEALTHY, "it is healthy")


def test_stop_start_and_restart_change_the_container(
    control: ControlBackend, web: Container
) -> None:
    before = control.service("web")

    stopped = control.perform("stop", "web", who="ada", reason="maintenance")
    web.reload()
    assert web.status == "exited"
    assert (stopped.state, stopped.wanted, stopped.pid) == (State.STOPPED, "down", None)
    started = control.perform("start", "web", who="ada")
    web.reload()
    assert started.pid == web.attrs["State"]["Pid"] != before.pid
    # Who is told to end while it begins may end in another way.
    eventually(lambda: "sleep " in str(web.top()["Processes"]), "it is at work")
    restarted = control.perform("restart", "web", who="ada")
    assert restarted.running and restarted.pid not in (None, started.pid)
    assert restarted.exit is not None and restarted.exit.signal == 15


def test_a_service_on_demand_is_started(control: ControlBackend) -> None:
    assert control.perform("start", "later", who="ada").running
    assert control.perform("stop", "later", who="ada").state is State.STOPPED


def test_a_start_that_fails_says_why(control: ControlBackend, stack: Stack) -> None:
    stack.add("wrong", start=False, init=False, entrypoint=["/no/such/program"])

    with pytest.raises(ControlError) as caught:
        control.perform("start", "wrong", who="ada")
    assert "/no/such/program" in caught.value.detail
    assert caught.value.service == "wrong"
    found = control.service("wrong")
    assert found.state is State.FATAL and "/no/such/program" in (found.reason or "")


def test_events_tell_what_was_asked_and_what_came_of_it(control: ControlBackend) -> None:
    last = control.events(limit=1)[-1].sequence
    control.perform("restart", "web", who="ada", reason="a new certificate")

    def told() -> list[str]:
        return [f"{e.kind} {e.message}" for e in control.events(since=last)]

    eventually(lambda: "state → running" in told(), "the start is told")
    assert told()[0] == "request op restart"
    assert "state → exited, code 143" in told()
    request = control.events(since=last)[0]
    assert (request.who, request.reason) == ("ada", "a new certificate")
    assert [e.sequence for e in control.events(since=last)] == list(
        range(last + 1, last + 1 + len(told()))
    )


def test_a_killed_container_tells_its_signal(control: ControlBackend, web: Container) -> None:
    before = control.service("web")
    assert before.pid is not None
    os.kill(before.pid, 9)

    def again() -> bool:
        now = control.service("web")
        return now.running and now.pid not in (None, before.pid)

    eventually(again, "the engine has started it again")
    now = control.service("web")
    assert now.restarts == before.restarts + 1
    eventually(lambda: (e := control.service("web").exit) and e.signal == 9, "its end is known")


def test_logs_are_the_last_lines_of_each_stream(control: ControlBackend) -> None:
    assert control.logs("checked", lines=2) == ["out one", "out two"]
    assert control.logs("checked", lines=1) == ["out two"]
    assert control.logs("checked", stream="stderr", lines=5) == ["err one"]


def test_a_tail_reaches_behind_the_other_streams_lines(
    control: ControlBackend, stack: Stack
) -> None:
    noise = "i=0; while [ $i -lt 300 ]; do echo noise >&2; i=$((i+1)); done"
    stack.add("noisy", f"echo first; echo second; {noise}; sleep 600")
    eventually(lambda: len(control.logs("noisy", stream="stderr", lines=300)) == 300, "the noise")
    assert control.logs("noisy", lines=100) == ["first", "second"]


def test_follow_goes_on_over_a_restart(control: ControlBackend) -> None:
    with closing(_closable(control.follow("checked", lines=1))) as lines:
        assert next(lines) == "out two"
        control.perform("restart", "checked", who="ada")
        assert _next_line(lines) == "out one"
        assert _next_line(lines) == "out two"


def test_a_new_container_under_the_name_is_the_service(
    control: ControlBackend, stack: Stack
) -> None:
    first = stack.add("replaced", "sleep 600")
    assert control.service("replaced").running
    first.remove(force=True)
    stack._made.remove(first)
    gone = control.service("replaced")
    assert gone.state is State.STOPPED and "does not exist" in (gone.reason or "")
    with pytest.raises(ControlError) as caught:
        control.perform("start", "replaced", who="ada")
    assert caught.value.code == "no_container"


def test_events_survive_the_gateway(stack: Stack, web: Container, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, stack.release, ENGINE)
    control = connect(f"unix+http://{gateway.socket}")
    control.perform("restart", "web", who="ada")
    eventually(lambda: control.events()[-1].message == "→ running", "the restart is seen")
    before = control.events(limit=500)
    assert gateway.stop() == 0
    web.restart()
    gateway = Gateway(tmp_path, stack.release, ENGINE)
    try:
        eventually(lambda: control.events()[-1].sequence > before[-1].sequence, "more is known")
        eventually(lambda: control.events()[-1].message == "→ running", "all is known")
        after = control.events(limit=500)
        assert after[: len(before)] == before
        told = [(e.kind, e.service) for e in after[len(before) :]]
        assert told == [("signal", "web"), ("state", "web"), ("state", "web")]
        assert [e.sequence for e in after] == list(range(1, len(after) + 1))
    finally:
        gateway.stop()


def test_without_an_engine_every_call_says_so(stack: Stack, tmp_path: Path) -> None:
    engine = Engine(str(tmp_path / "nothing.sock"))
    membership = Membership(STACK, stack.release)
    journal = EngineJournal(engine, membership, STACK, str(tmp_path / "events.jsonl"))
    backend = DockerBackend(engine, membership, journal)

    calls: list[Any] = [
        backend.services,
        lambda: backend.perform("stop", "web", who="ada"),
        lambda: backend.logs("web"),
        lambda: next(iter(backend.follow("web"))),
    ]
    for call in calls:
        with pytest.raises(ControlError) as caught:
            call()
        assert caught.value.status == 503
        assert "nothing.sock" in caught.value.detail


def test_without_a_release_nothing_is_a_service(tmp_path: Path) -> None:
    membership = Membership(STACK, tmp_path / "release.json")
    with pytest.raises(ControlError) as caught:
        membership.members()
    assert (caught.value.status, caught.value.code) == (503, "no_release")
    (tmp_path / "release.json").write_text(json.dumps({"topology": "containers", "services": []}))
    assert membership.members() == {}


def test_it_is_remembered_that_memory_lacked(web: Container, stack: Stack, tmp_path: Path) -> None:
    """As the engine tells it; it forgets its own mark as soon as it has started the container."""
    engine, membership = Engine(ENGINE), Membership(STACK, stack.release)
    path = str(tmp_path / "events.jsonl")
    backend = DockerBackend(engine, membership, EngineJournal(engine, membership, STACK, path))
    assert not backend.service("web").reason
    name = f"/{web.name}".lstrip("/")
    told = {"timeNano": time.time_ns(), "Action": "oom",
            "Actor": {"Attributes": {"name": name, **web.labels}}}  # fmt: skip
    EngineJournal(engine, membership, STACK, path)._take(told)
    # One that begins anew reads it from its file.
    backend = DockerBackend(engine, membership, EngineJournal(engine, membership, STACK, path))
    assert "for want of memory at 2" in (backend.service("web").reason or "")
    assert [event.kind for event in backend.events()] == ["oom"]
    assert not backend.service("checked").reason


def _closable(lines: Iterator[str | None]) -> Any:
    return lines


def _next_line(lines: Iterator[str | None]) -> str:
    for line in lines:
        if line is not None:
            return line
    raise AssertionError("the log has ended")
