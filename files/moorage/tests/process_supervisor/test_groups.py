"""Replicas of one entry, groups, and restarts of one after the other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from files.moorage.tests.process_supervisor.test_api_and_commands import cli
from process_supervisor import ProcessConfig, ProcessSupervisor
from process_supervisor.config.reader import ConfigError
from process_supervisor.config.settings import Config
from process_supervisor.control.client import ControlError

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig

REPLICAS = [{"name": f"web-{number}"} for number in (1, 2, 3)]
WEB: dict[str, Any] = {"name": "web", "numprocs": 3, "command": ["sleep", "1000"]}


def read(*processes: dict[str, Any]) -> Config:
    return Config({"version": 1, "processes": list(processes)})


def problem(*processes: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*processes)
    return str(caught.value)


def test_an_entry_stands_for_several_with_a_number_each() -> None:
    entry = {
        **WEB, "command": ["serve", "--port=80%(process_num)02d", "date +%s"], "ports": [
        "80%(process_num)02d"], "stdout_logfile": "/l/%(process_name)s.log",
        "health_check": {"type": "tcp", "port": "80%(process_num)02d"}, "environment": {"A": "b"},
    }  # fmt: skip
    found = read(entry, {"name": "edge", "command": ["x"], "depends_on": {"web": "healthy"}})
    assert list(found.processes) == ["web-1", "web-2", "web-3", "edge"]
    second = found.processes["web-2"]
    assert second.command == ["serve", "--port=8002", "date +%s"]
    assert (second.ports, second.group) == ([8002], "web")
    assert second.health_check is not None
    assert second.health_check.port == 8002
    assert second.environment == {"A": "b", "PROCESS_SUPERVISOR_NUMBER": "2"}
    assert second.stdout_logfile == "/l/web-2.log"
    assert found.processes["edge"].depends_on == dict.fromkeys(
        ["web-1", "web-2", "web-3"], "healthy"
    )
    assert Config(found.as_dict()).as_dict() == found.as_dict()


def test_names_are_given_by_a_pattern() -> None:
    pattern = {"process_name": "%(program_name)s_%(process_num)02d", "numprocs_start": 0}
    assert list(read({**WEB, **pattern}).processes) == ["web_00", "web_01", "web_02"]
    other = read({**WEB, "group": "shop"}).processes["web-1"]
    assert other.group == "shop"


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"numprocs": 0}, "process web: numprocs: must be a whole number of at least 1"),
        ({"numprocs": 1001}, "process web: numprocs: must be at most 1000"),
        ({"process_name": "web"}, "process web: process_name: needs %(process_num)d"),
        ({"numprocs": None, "process_name": "x"}, "process web: process_name: is for an entry"),
        ({"name": None}, "name: is required"),
        ({"group": "a b"}, "group: must be letters"),
        ({"group": "other"}, "process other: name: is also the name of a group"),
        ({"stdout_logfile": "/l"}, "/l: is also web-1's log file; %(process_num)d in it"),
        ({"environment": 5}, "process web-1: environment: must be a mapping"),
    ],
)
def test_mistakes_of_templates(entry: dict[str, Any], told: str) -> None:
    assert told in problem({**WEB, **entry}, {"name": "other", "command": ["x"]})


def test_a_mistake_in_a_template_is_told_once() -> None:
    assert problem({**WEB, "comand": 1}).count("comand") == 1


def test_groups_are_acted_on_as_one(rig: Rig) -> None:
    files = {"stdout_logfile": None, "stderr_logfile": None}
    rig.start({**WEB, **files}, {"name": "other", "command": ["sleep", "1000"]})
    rig.processes += REPLICAS
    before = {name: rig.pid(name) for name in ("web-1", "web-2", "web-3", "other")}
    environment = Path(f"/proc/{before['web-2']}/environ").read_bytes()
    assert b"PROCESS_SUPERVISOR_NUMBER=2" in environment.split(b"\0")

    assert [item["name"] for item in rig.client.status("web:")] == ["web-1", "web-2", "web-3"]
    assert {item["group"] for item in rig.client.status("web:*")} == {"web"}
    assert rig.client.status("web:web-2")["pid"] == before["web-2"]
    assert [item["name"] for item in rig.client.status("other:")] == ["other"]
    assert {item["state"] for item in rig.client.stop("web:")} == {"STOPPED"}
    assert rig.pid("other") == before["other"]
    assert cli(rig, "start", "web:*").stdout.count("RUNNING") == 3
    after = [item["pid"] for item in rig.client.restart("web:")]
    assert not set(after) & set(before.values())
    assert cli(rig, "logs", "web:").returncode == 1  # they have no log
    for words, told in (
        (("status", "web"), "web is a group: write web:"),
        (("status", "shop:"), "there is no group shop (there are: web-1, web-2, web-3, other, web"),
        (("status", "web:other"), "there is no process web:other"),
        (("signal", "HUP", "web:"), "name one of the group: web-1"),
    ):
        answer = cli(rig, *words)
        assert answer.returncode == 1
        assert told in answer.stderr + answer.stdout
    assert cli(rig, "pid", "web:").stdout.split() == [str(pid) for pid in after]
    rig.kill_supervisor()
    assert [item["pid"] for item in rig.client.status("web:")] == after
    rig.configure({**WEB, **files, "numprocs": 2}, {"name": "other", "command": ["sleep", "1000"]})
    found = rig.client.reload()
    assert (found["removed"], found["unchanged"]) == (["web-3"], ["web-1", "web-2", "other"])


def replica(path: Path, check: str = "test -e ok") -> dict[str, Any]:
    return {
        "name": "web", "numprocs": 3, "command": ["sleep", "1000"], "working_dir": str(path),
        "stdout_logfile": None, "stderr_logfile": None, "health_check": {
            "type": "command", "command": ["sh", "-c", check], "start_interval": 0.05,
            "start_period": 0, "retries": 1, "interval": 0.05, "timeout": 60,
            "restart_when_unhealthy": False,
        },
    }  # fmt: skip


def test_replicas_are_restarted_one_after_the_other(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "ok").touch()
    rig.start(replica(tmp_path))
    rig.processes += REPLICAS
    rig.until(lambda: all(i["health"] == "healthy" for i in rig.client.status("web:")), "healthy")
    before = [item["pid"] for item in rig.client.status("web:")]
    rig.client.stop("web-2")
    seq = rig.client.events(limit=1)[-1]["seq"]
    answer = cli(rig, "restart", "--rolling", "web:")
    assert answer.returncode == 0, answer
    after = rig.client.status("web:")
    assert {item["health"] for item in after if item["name"] != "web-2"} == {"healthy"}
    assert not {item["pid"] for item in after} & set(before)
    # Who is stopped is left so, and nobody is stopped before the one before is healthy.
    assert after[1]["state"] == "STOPPED"
    steps = [(i["process"], i["to"]) for i in rig.client.events(seq) if "to" in i]
    assert steps.index(("web-1", "healthy")) < steps.index(("web-3", "STOPPING"))

    # One that does not get well ends it, and the rest runs on.
    (tmp_path / "ok").unlink()
    rig.until(lambda: rig.status("web-3")["health"] == "unhealthy", "unhealthy")
    third = rig.pid("web-3")
    with pytest.raises(
        ControlError, match=r"web-1 did not get well.*left as they were: web-2, web"
    ):
        rig.client.rolling_restart("web:")
    assert rig.pid("web-3") == third
    ended = [item for item in rig.client.events() if item["event"] == "rolling restart ended"]
    assert "web-1 did not get well" in ended[-1]["reason"]


def test_a_rolling_restart_that_waits_too_long_or_twice_is_told(rig: Rig, tmp_path: Path) -> None:
    rig.start(replica(tmp_path, "test -e ok || exec sleep 1000"))
    rig.processes += REPLICAS
    rig.pid("web-3")
    before = rig.pid("web-1")
    with pytest.raises(ControlError, match=r"web-1 was not well after 0.3 s"):
        rig.client.rolling_restart("web:", wait=0.3)
    first = rig.new_pid("web-1", before)
    with pytest.raises(ControlError, match="no answer in time"):
        type(rig.client)(rig.client.path, timeout=0.2).call(
            "rolling_restart", name="web:", wait=1000
        )
    rig.new_pid("web-1", first)
    with pytest.raises(ControlError, match="a rolling restart of web-1, web-2, web-3 is under way"):
        rig.client.rolling_restart("web:")
    # It goes on without the client that asked for it, until somebody stops the one it waits for.
    rig.client.stop("web-1")
    rig.until(
        lambda: any("web-1 is being stopped" in str(e.get("reason")) for e in rig.client.events()),
        "it ends",
    )


def test_groups_in_a_program(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import time; time.sleep(1000)"]
    section = {"run_dir": str(tmp_path / "run")}
    entry = {"name": "web", "numprocs": 2, "command": program, "start_seconds": 0.2}
    supervisor = ProcessSupervisor({"version": 1, "supervisor": section, "processes": [entry]})
    try:
        assert supervisor.start_process("web:")
        before = {item["pid"] for item in supervisor.get_all_status().values()}
        supervisor.rolling_restart("web:")
        assert not before & {item["pid"] for item in supervisor.get_all_status().values()}
        supervisor.start_monitoring()
        with pytest.raises(KeyError, match="there is no group shop"):
            supervisor.rolling_restart("shop:")
        assert supervisor.stop_process("web:")
    finally:
        supervisor.shutdown()


def test_a_program_gives_several_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    web = ProcessConfig("web", ["sleep", "1%(process_num)d00"], numprocs=2)
    other = ProcessConfig("other", ["sleep", "1000"], depends_on={"web": "started"})
    supervisor = ProcessSupervisor([web, other])
    try:
        assert list(supervisor.get_all_status()) == ["web-1", "web-2", "other"]
        supervisor.add_process(ProcessConfig("more", ["sleep", "1000"], numprocs=2))
        assert supervisor.start_process("more:")
        supervisor.reload([ProcessConfig("web", web.command, numprocs=1), other])
        assert "web-2" not in supervisor.get_all_status()
    finally:
        supervisor.shutdown()
    for wrong, told in (
        ({"numprocs": 0}, "process web: numprocs: must be a whole number of at least 1"),
        ({"process_name": "x"}, "process web: process_name: is for an entry with numprocs alone"),
        ({"numproc": 2}, "did you mean numprocs"),
        ({"numprocs": 2, "nice": "x"}, "process web: nice: "),
    ):
        with pytest.raises(ConfigError, match=told):
            ProcessConfig("web", ["sleep", "1000"], **wrong)
