"""What a deploy does with the processes of a unified container: a real supervisor, no engine."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from moorage.deploy.drivers import unified
from moorage.deploy.gate import wait_until_healthy
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release
from moorage.deploy.runtimes.docker import Docker
from moorage.release.layout import Layout
from moorage.release.manifest import Manifest, Unit
from process_supervisor.control.client import ControlError

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig


class Deploy:
    """The driver of one release, whose unified container is the rig's supervisor."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self.rig, self.directory = rig, directory
        (rig.directory / "run").mkdir(exist_ok=True)
        (directory / "unified").symlink_to(rig.run_dir)
        self.driver = unified.UnifiedDriver(Layout("shop", directory, directory), Docker())
        self.release = Release("0" * 12, directory, Manifest("unified"))
        facts: dict[str, Any] = {"state": "running", "slot": "", "service": "unified"}
        self.container = cast(Instance, SimpleNamespace(name="shop-unified", **facts))
        self.unit = Unit("shop-unified", "unified", "", rolled=False, keys={"": "unified"},
                         singletons=("worker",), processes=("worker",),
                         slot_install={"": {"supervisor.json": str(rig.config_path)}})  # fmt: skip

    def wants(self, **settings: Any) -> None:
        """Let the release differ from what is installed in these settings of every process."""
        config = json.loads(self.rig.config_path.read_text())
        for process in config["processes"]:
            process.update(settings)
        (self.directory / "supervisor.json").write_text(json.dumps(config))

    def adapt(self, *held: str) -> list[str]:
        """Bring the container to the release."""
        return self.driver.adapt(self.release, self.unit, self.container, (), held)

    def gate(self, seconds: float) -> None:
        """Wait as a rollout does."""
        look = partial(self.driver.checks, self.unit, self.container)
        wait_until_healthy(look, seconds)


@pytest.fixture
def deploy(rig: Rig, tmp_path: Path) -> Deploy:
    """A release whose container runs."""
    directory = tmp_path / "stack"
    directory.mkdir()
    return Deploy(rig, directory)


def slow(rig: Rig) -> dict[str, Any]:
    """A worker that ends its job before it ends, and writes that it did."""
    job = f"trap 'sleep 3; echo done >> {rig.path('jobs')}; exit 0' TERM"
    script = f"{job}; touch {rig.path('up')}; while :; do sleep 0.05; done"
    return {"name": "worker", "command": ["sh", "-c", script], "stop_grace": 300}


def started(rig: Rig) -> None:
    """Start a slow worker and wait until it has its trap."""
    rig.start(slow(rig))
    rig.until(rig.path("up").exists, "the worker works")


def test_a_process_that_gave_up_is_started_again(rig: Rig, deploy: Deploy) -> None:
    script = f"test -e {rig.path('ready')} && exec sleep 1000; exit 1"
    rig.start({"name": "worker", "command": ["sh", "-c", script], "restart_limit": 1})
    rig.in_state("worker", "FATAL")
    deploy.wants()
    rig.path("ready").touch()
    assert deploy.adapt() == ["worker"]
    deploy.gate(10)
    assert deploy.adapt() == []


def test_what_somebody_stopped_is_left_alone(rig: Rig, deploy: Deploy) -> None:
    rig.start({"name": "worker", "command": ["false"], "restart_limit": 0})
    rig.in_state("worker", "FATAL")
    rig.client.stop("worker")
    deploy.wants()
    assert deploy.adapt("worker") == []
    # Nobody has: it was stopped for a hand-over that was cut off.
    assert deploy.adapt() == ["worker"]


def test_the_gate_does_not_count_the_end_of_a_job(rig: Rig, deploy: Deploy) -> None:
    started(rig)
    before = rig.pid("worker")
    deploy.wants(environment={"COLOUR": "red"})
    assert deploy.adapt() == ["worker"]
    assert rig.path("jobs").read_text() == "done\n"
    deploy.gate(2)
    assert rig.pid("worker") != before


def test_going_back_waits_for_the_end_of_a_job(
    rig: Rig, deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unified, "_STOP_SECONDS", 0.5)
    started(rig)
    deploy.wants()
    with pytest.raises(ControlError, match="STOPPING after 0"):
        rig.client.call("stop", name="worker", wait=0.01)
    took = deploy.driver.take_back(deploy.release, deploy.unit, deploy.container, ())
    assert took == ["worker"]
    assert rig.path("jobs").read_text() == "done\n"
    assert rig.status("worker")["state"] == "RUNNING"


def test_a_supervisor_that_is_still_starting_is_waited_for(rig: Rig, deploy: Deploy) -> None:
    rig.configure({"name": "worker", "command": ["sleep", "1000"], "autostart": False})
    deploy.wants(autostart=True)
    starting = threading.Timer(0.5, rig.start)
    starting.start()
    try:
        assert deploy.adapt() == ["worker"]
    finally:
        starting.join()
    assert rig.status("worker")["state"] == "RUNNING"


def test_waits_follow_the_longer_grace_of_old_and_new(rig: Rig, deploy: Deploy) -> None:
    rig.configure(slow(rig))
    deploy.wants(stop_grace=2)
    waits = deploy.driver._waits(deploy.release, deploy.unit, deploy.container)
    assert waits == {"worker": 360.0}
