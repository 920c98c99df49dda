"""Scheduled processes: run when it is time, once at most, and what was missed is told."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from files.moorage.tests.process_supervisor.test_api_and_commands import cli
from process_supervisor import ConfigError, ProcessConfig
from process_supervisor.supervisor import schedule
from process_supervisor.supervisor.schedule import Job

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig

HOURLY = "0 * * * *"
JOB: dict[str, Any] = {"name": "job", "command": ["echo", "done"], "schedule": HOURLY}


def handled(rig: Rig, seconds: float, text: str = HOURLY, name: str = "job") -> None:
    """Have the supervisor have looked after a job last so long ago."""
    rig.path("state").mkdir(exist_ok=True)
    known = {"schedule": text, "skipped": 0, "missed": 0, "last": None}
    jobs = {"version": 1, "jobs": {name: {**known, "handled": time.time() - seconds}}}
    rig.path("state").joinpath("schedule.json").write_text(json.dumps(jobs))


def told(rig: Rig, event: str) -> list[str]:
    found = rig.client.events(limit=1000)
    return [item["reason"] for item in found if item["event"] == event]


def test_it_runs_when_it_is_time_and_not_before(rig: Rig) -> None:
    # One whose minute came a moment ago, and one that nobody has seen before.
    handled(rig, time.time() % 60 + 1, "* * * * *")
    rig.start({**JOB, "schedule": "* * * * *"}, {**JOB, "name": "later", "schedule": "@yearly"})
    found = rig.in_state("job", "EXITED")
    assert found["schedule"]["schedule"] == "* * * * *"
    assert found["schedule"]["next"] > time.time() - 60
    rig.until(lambda: rig.status("job")["schedule"]["last"], "the run is on record")
    assert rig.status("job")["schedule"]["last"]["code"] == 0
    assert "exited with status 0, runs at 20" in rig.status("job")["reason"]
    later = rig.status("later")
    assert (later["state"], later["schedule"]["last"]) == ("STOPPED", None)
    assert cli(rig, "health").returncode == 0
    # By hand it runs now; a stop is one of its schedule as well.
    assert rig.client.start("later")["state"] in ("RUNNING", "EXITED")
    rig.in_state("later", "EXITED")
    assert rig.client.stop("later")["schedule"]["next"] is None
    rig.kill_supervisor()
    assert rig.status("later")["schedule"]["next"] is None
    assert rig.status("later")["schedule"]["last"]["code"] == 0


def test_what_was_missed_is_told_and_done_once_if_wanted(rig: Rig) -> None:
    text = late()
    handled(rig, 10 * 3600, text)
    rig.start({**JOB, "schedule": text, "run_missed": True})
    rig.in_state("job", "EXITED")
    assert len(told(rig, "missed")) == 1
    assert "missed 10, the last of them of " in told(rig, "missed")[0]
    assert rig.states("job").count("RUNNING") == 1
    assert rig.status("job")["schedule"]["missed"] == 10


def late() -> str:
    """An hourly schedule that is due more than a minute ago and many minutes from now."""
    return f"{(int(time.time() // 60) - 30) % 60} * * * *"


def test_what_was_missed_is_told_alone_by_default_and_of_a_stopped_one_never(rig: Rig) -> None:
    text = late()
    handled(rig, 2 * 3600, text)
    rig.start({**JOB, "schedule": text})
    assert rig.until(lambda: told(rig, "missed"), "it is told")
    assert rig.states("job") == []
    rig.client.stop("job")
    rig.shut_down()
    handled(rig, 2 * 3600, text)
    rig.start()
    rig.until(lambda: rig.status("job")["schedule"]["next"] is None, "it is stopped")
    assert len(told(rig, "missed")) == 1


def test_never_two_at_once(rig: Rig) -> None:
    text = late()
    rig.start({**JOB, "command": ["sleep", "1000"], "schedule": text, "run_missed": True})
    rig.client.start("job")
    pid = rig.pid("job")
    handled(rig, 3600, text)
    rig.kill_supervisor()
    assert rig.until(lambda: told(rig, "skipped"), "it is told")[0].endswith("still RUNNING")
    assert (rig.pid("job"), rig.status("job")["schedule"]["skipped"]) == (pid, 1)
    # A schedule by reload counts from now; without one it is a process like others.
    rig.configure({**JOB, "command": ["sleep", "1000"], "schedule": "@daily"})
    assert rig.client.reload()["changed"] == ["job"]
    assert rig.status("job")["schedule"]["schedule"] == "@daily"
    rig.configure({**JOB, "command": ["sleep", "1000"], "schedule": None})
    rig.client.reload()
    assert rig.status("job")["schedule"] is None
    assert rig.pid("job") == pid


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"jobs": 5}', '{"jobs": {"job": 5}}', '{"jobs": {"job": {}}}',
             *(json.dumps({"jobs": {"job": {
                 "schedule": JOB["schedule"], "handled": at, "skipped": 0, "missed": 0, "last": None
             }}}) for at in (float("inf"), -1e18))]
)  # fmt: skip
def test_a_file_of_others_is_no_trouble(rig: Rig, text: str) -> None:
    rig.path("state").mkdir()
    rig.path("state").joinpath("schedule.json").write_text(text)
    rig.start(JOB)
    assert rig.status("job")["schedule"]["next"] > time.time()


def test_a_clock_that_was_wrong_is_set() -> None:
    saved = {"schedule": HOURLY, "handled": 5e9, "skipped": 0, "missed": 0, "last": None}
    job = Job(HOURLY, 1e9, saved)
    assert job.next <= 1e9 + 3 * 3600
    # After years there is a bound to what is counted.
    assert len(job.due(2e9)) == schedule.MOST_COUNTED
    assert 2e9 < job.next <= 2e9 + 3600


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"schedule": "61 * * * *"}, r"process job: schedule: minute: must be 0 to 59, not '61'"),
        ({"schedule": "0 0 31 2 *"}, r"schedule: names no day that there is.*'0 0 31 2 \*'"),
        ({"schedule": HOURLY, "autorestart": True}, "autorestart: must be never or on-failure"),
        ({"run_missed": True}, "run_missed: is for a process with a schedule"),
    ],
)
def test_mistakes(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        ProcessConfig("job", ["x"], **settings)
    assert ProcessConfig("job", ["x"], schedule=HOURLY).autorestart == "never"
    assert not ProcessConfig("job", ["x"], schedule=HOURLY).autostart
