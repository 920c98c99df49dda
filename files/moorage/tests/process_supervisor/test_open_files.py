"""Many processes: more open files than the soft limit allows, and what happens at the hard one."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from process_supervisor.common import openfiles
from process_supervisor.config.settings import ProcessConfig

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig

SOFT = 100


def limits(soft: int, hard: int) -> list[str]:
    """A command by which another one gets these limits of open files."""
    return ["prlimit", f"--nofile={soft}:{hard}"]


def tellers(count: int) -> list[dict[str, Any]]:
    script = "ulimit -Sn; exec sleep 1000"
    command = {"command": ["sh", "-c", script], "restart_limit": None}
    return [{"name": f"p{number}", **command} for number in range(count)]


def test_a_soft_limit_is_for_programs_alone(rig: Rig) -> None:
    rig.start(*tellers(60), by=limits(SOFT, 4096))
    for number in range(60):
        rig.in_state(f"p{number}", "RUNNING")

    def told(name: str) -> list[str]:
        return rig.path(f"{name}.log").read_text().split()

    for number in range(60):
        rig.until(lambda n=number: told(f"p{n}") == [str(SOFT)], "it has the soft limit")  # type: ignore[misc]
    rig.kill_supervisor()
    os.kill(rig.pid("p1"), signal.SIGKILL)
    rig.until(lambda: told("p1") == [str(SOFT)] * 2, "it still has after a supervisor was killed")
    assert rig.guardian is not None
    info = rig.answering()
    rig.guardian.kill()
    rig.guardian.wait()
    rig.until(lambda: rig.answering()["pid"] != info["pid"], "the supervisor is the guardian now")
    os.kill(rig.pid("p2"), signal.SIGKILL)
    rig.until(lambda: told("p2") == [str(SOFT)] * 2, "it still has after a guardian was killed")


def test_at_the_hard_limit_the_supervisor_goes_on(rig: Rig) -> None:
    rig.start(*tellers(60), by=limits(SOFT, 200))
    assert "needs about" in rig.output.read_text()
    found = rig.until(
        lambda: [
            s
            for s in rig.client.status()
            if s["state"] == "BACKOFF" and "open files" in s["reason"]
        ],
        "some cannot be started, and say why",
    )
    running = [s["name"] for s in rig.client.status() if s["state"] == "RUNNING"]
    assert len(running) > 20
    # It answers, notes what it is told, and comes back.
    rig.client.stop(running[0])
    rig.kill_supervisor()
    assert rig.status(running[0])["state"] == "STOPPED"
    assert rig.status(running[1])["state"] == "RUNNING"
    # Who is taken out makes room.
    rig.configure(*[item for item in rig.processes if item["name"] not in running[2:12]])
    rig.client.reload()
    late = {status["name"] for status in found}
    rig.until(
        lambda: late & {s["name"] for s in rig.client.status() if s["state"] == "RUNNING"},
        "others take their place",
    )


def test_a_check_counts(rig: Rig) -> None:
    configs = [ProcessConfig(f"p{n}", ["x"], stdout_logfile=f"/l/{n}") for n in range(1000)]
    assert 3000 <= openfiles.needed(configs) <= 3200
    rig.configure(*tellers(60))
    command = [sys.executable, "-m", "process_supervisor", "check-config", "-c"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*limits(SOFT, 200), *command, str(rig.config_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "the hard limit is 200" in done.stderr


@pytest.mark.parametrize("soft", [0, 7])
def test_nothing_is_done_where_nothing_is_to_be_kept(soft: int) -> None:
    with openfiles.as_programs_have():
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > soft
