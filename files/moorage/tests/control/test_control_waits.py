"""Services that may take minutes to end: whoever stops one is answered, and nothing is killed."""

import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from control_rig import ControlRig, eventually
from gateway_rig import ENGINE, STACK, Stack, audit, labels, serving

from moorage.control import (
    ControlBackend,
    ControlError,
    ServiceStatus,
    State,
    docker_backend,
    process,
)
from moorage.control.docker_backend import DockerBackend
from moorage.control.docker_events import EngineJournal
from moorage.control.engine import Engine
from moorage.control.http import HttpBackend
from moorage.control.membership import Membership
from moorage.control.process import ProcessBackend

# Ends its job first, which takes until somebody says so.
WAITS = "while [ ! -e {go} ]; do sleep 0.05; done; exit 0"
WORKER = f"trap '{WAITS}' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_backend, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(process, "PATIENCE_SECONDS", 0.5)


def of_a_process(path: Path) -> Iterator[tuple[ControlBackend, Callable[[], object]]]:
    go = path / "go"
    worker = {"command": ["sh", "-c", WORKER.format(go=go)], "stop_grace": 300}
    rig = ControlRig(path, {"worker": worker})
    try:
        rig.start()
        yield ProcessBackend(rig.socket), go.touch
    finally:
        go.touch()
        rig.stop()


def of_a_container(path: Path) -> Iterator[tuple[ControlBackend, Callable[[], object]]]:
    stack, name = Stack(path), f"{STACK}-worker"
    marks = [
        word for key, value in labels("worker").items() for word in ("--label", f"{key}={value}")
    ]
    try:
        subprocess.run(
            ["docker", "run", "--detach", "--init", f"--name={name}", "--stop-timeout=300",
             "--network=none", "--restart=unless-stopped", *marks, stack.image, "sh", "-c",
             WORKER.format(go="/go")],
            check=True, capture_output=True,
        )  # fmt: skip
        stack.name_in_release("worker", name)
        engine, membership = Engine(ENGINE), Membership(STACK, stack.release)
        journal = EngineJournal(engine, membership, STACK, str(path / "events.jsonl"))
        journal.start()
        with serving(DockerBackend(engine, membership, journal), path) as socket:
            end = ["docker", "exec", name, "sh", "-c", "> /go"]
            yield HttpBackend(socket), lambda: subprocess.run(end, check=True)
        assert audit(path)[0]["result"] == "under way"
    finally:
        subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)
        stack.remove()


@pytest.fixture(params=[of_a_process, of_a_container], ids=["process", "container"])
def slow(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[ControlBackend, Callable[[], object]]]:
    for control, end in request.param(tmp_path):
        # Before it listens to SIGTERM a first process would not even get it.
        eventually(partial(works, control), "it works", 60)
        yield control, end


def works(control: ControlBackend) -> bool:
    return control.logs("worker") == ["ready"]


def ending(status: ServiceStatus) -> bool:
    return status.state is State.STOPPING and " s to end" in (status.reason or "")


def test_a_stop_that_takes_its_time_is_under_way_and_no_failure(
    slow: tuple[ControlBackend, Callable[[], object]],
) -> None:
    control, end = slow
    before = control.service("worker").pid
    assert ending(control.perform("stop", "worker", who="ada"))
    assert ending(control.service("worker"))
    assert ending(next(s for s in control.services() if s.name == "worker"))
    # Whoever asks for the same once more hears the same.
    assert ending(control.perform("stop", "worker", who="bob"))
    assert control.service("worker").pid == before
    end()
    stopped = (State.STOPPED, State.EXITED)
    eventually(lambda: control.service("worker").state in stopped, "it has ended by itself", 60)
    ended = control.service("worker").exit
    assert ended is not None and ended.code == 0
    requests = [e.who for e in control.events(limit=500) if e.kind == "request"]
    assert requests[0] == "ada"


def test_a_restart_that_takes_its_time_comes_to_its_end(
    slow: tuple[ControlBackend, Callable[[], object]],
) -> None:
    control, end = slow
    before = control.service("worker").pid
    assert ending(control.perform("restart", "worker", who="ada"))
    if isinstance(control, HttpBackend):
        with pytest.raises(ControlError, match=r"being restarted for .* may take 300 s to end"):
            control.perform("stop", "worker", who="bob")
    end()
    eventually(
        lambda: (s := control.service("worker")).state is State.RUNNING and s.pid != before,
        "another process", 60,
    )  # fmt: skip
    ended = control.service("worker").exit
    assert ended is None or ended.code == 0
