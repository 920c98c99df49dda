"""The interfaces for people and programs: command line, Python API, service_manager."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import process_supervisor
from process_supervisor import (
    ConfigError,
    ProcessConfig,
    ProcessSupervisor,
    client,
    get_supervisor,
)
from process_supervisor.cli import show
from process_supervisor.cli.main import main, parser, plain_status
from process_supervisor.common.version import __version__
from process_supervisor.config.files import load
from process_supervisor.control.client import Client, ControlError
from service_manager import ServiceManager

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig

SLEEPER: dict[str, Any] = {"name": "sleeper", "command": ["sleep", "1000"]}


def cli(rig: Rig, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line against a rig."""
    return subprocess.run(
        [sys.executable, "-m", "process_supervisor", "--socket", rig.client.path, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_commands(rig: Rig) -> None:
    rig.start(SLEEPER, {"name": "once", "command": ["echo", "done"], "autorestart": "on-failure"})
    rig.in_state("once", "EXITED")
    pid = rig.pid("sleeper")

    table = cli(rig, "status")
    assert table.returncode == 0
    assert "\x1b" not in table.stdout
    heading, sleeper, once = table.stdout.splitlines()
    assert heading.split()[:4] == ["NAME", "STATE", "HEALTH", "PID"]
    assert sleeper.split()[:4] == ["sleeper", "RUNNING", "-", str(pid)]
    assert "exited with status 0" in once
    assert json.loads(cli(rig, "status", "--json", "sleeper").stdout)["pid"] == pid
    assert len(json.loads(cli(rig, "status", "--json").stdout)) == 2

    assert cli(rig, "pid", "sleeper").stdout == f"{pid}\n"
    assert cli(rig, "pid").stdout == f"{rig.client.info()['pid']}\n"
    assert cli(rig, "health").returncode == 0
    assert cli(rig, "logs", "once").stdout == "done\n"

    stopped = cli(rig, "stop", "sleeper", "--reason", "lunch")
    assert (stopped.returncode, stopped.stdout) == (0, "sleeper: STOPPED: stopped by an operator\n")
    assert "op=stop" in cli(rig, "events").stdout
    assert ": lunch" in cli(rig, "events").stdout
    assert cli(rig, "health").returncode == 0
    assert cli(rig, "start", "sleeper").returncode == 0
    assert cli(rig, "restart", "--all").returncode == 0
    assert cli(rig, "signal", "TERM", "sleeper").returncode == 0
    assert cli(rig, "reopen").returncode == 0
    assert cli(rig, "reload").stdout == "unchanged: sleeper, once\n"
    events = [json.loads(line) for line in cli(rig, "events", "--json").stdout.splitlines()]
    assert events[0]["event"] == "supervisor started"
    assert cli(rig, "shutdown").returncode == 0
    assert rig.guardian is not None
    assert rig.guardian.wait(60) == 0


def test_exit_statuses_and_messages(rig: Rig) -> None:
    unreachable = cli(rig, "status")
    assert unreachable.returncode == 3
    assert unreachable.stderr.startswith("process_supervisor: no supervisor answers at ")
    assert cli(rig, "fly").returncode == 2
    rig.start(SLEEPER, {"name": "bad", "command": ["false"], "restart_limit": 0})
    rig.in_state("bad", "FATAL")
    unknown = cli(rig, "stop", "absent")
    assert unknown.returncode == 1
    assert "there is no process absent (there are: sleeper, bad)" in unknown.stderr
    assert cli(rig, "stop").returncode == 1
    assert "write --silence [NAME] --for TIME" in cli(rig, "alerts", "--for", "2h").stderr
    events = cli(rig, "events").stdout
    assert "RUNNING -> FATAL: " in events
    assert "exit=" not in events
    health = cli(rig, "health")
    assert health.returncode == 1
    assert "bad: FATAL" in health.stdout
    assert "1 of 2 as they should be" in health.stdout


def test_check_config(rig: Rig) -> None:
    rig.configure(SLEEPER)
    good = cli(rig, "check-config", "--config", str(rig.config_path))
    assert (good.returncode, "1 processes: sleeper" in good.stdout) == (0, True)
    rig.config_path.write_text('{"version": 1, "processes": [{"name": "a"}, {"name": "b"}]}')
    bad = cli(rig, "check-config", "--config", str(rig.config_path))
    assert bad.returncode == 78
    assert len(bad.stderr.splitlines()) == 2


def test_a_reader_that_has_seen_enough(rig: Rig) -> None:
    # More than a pipe's buffer of Python's holds.
    rig.configure(*[{**SLEEPER, "name": f"sleeper-{number}"} for number in range(20)])
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "process_supervisor", "check-config", "--show",
             "-c", str(rig.config_path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=closed, stderr=subprocess.PIPE, timeout=30,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_directory_that_its_user_may_not_make(rig: Rig) -> None:
    # Not even root may make one there.
    config = {"version": 1, "supervisor": {"run_dir": "/sys/moorage"}, "processes": []}
    rig.config_path.write_text(json.dumps(config))
    done = cli(rig, "run", "-c", str(rig.config_path))
    assert done.returncode == 73
    assert "/sys/moorage" in done.stderr
    assert "; set run_dir, state_dir and log_file to places that this user may" in done.stderr


def test_following_on_the_command_line(rig: Rig) -> None:
    rig.start(
        {"name": "talk", "command": ["sh", "-c", "for n in 1 2 3; do echo $n; done; sleep 9"]}
    )
    with subprocess.Popen(
        [sys.executable, "-m", "process_supervisor", "-s", rig.client.path, "logs", "-f", "talk"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        # A shell that runs the tests in its background has this signal ignored, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as follower:
        assert follower.stdout is not None
        assert [next(follower.stdout) for _ in range(3)] == [b"1\n", b"2\n", b"3\n"]
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 130


def test_the_usual_way_in_is_light() -> None:
    code = "import process_supervisor, sys; print('asyncio' in sys.modules, 'ssl' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stdout == b"False False\n"
    with pytest.raises(AttributeError):
        _ = process_supervisor.no_such_name


def test_documented_names_stay_where_they_are() -> None:
    assert (client.Client, client.ControlError) == (Client, ControlError)
    assert re.fullmatch(r"\d+\.\d+\.\d+", process_supervisor.__version__)


def test_nothing_is_called_like_a_module_of_the_standard_library() -> None:
    # boot.py has its own directory on the path first where the configuration is YAML.
    names = {path.stem for path in Path(process_supervisor.__file__).parent.iterdir()}
    assert "boot" in names and not names & sys.stdlib_module_names


def test_service_manager(rig: Rig, until: Callable[..., Any]) -> None:
    rig.start({**SLEEPER, "name": "main-app"})
    manager = ServiceManager(rig.client.path, str(rig.path("pids.env")))
    pid = rig.pid("main-app")
    assert manager.get_service_status("main-app") == "running"
    assert manager.load_pids() == {"main-app": pid}
    assert manager.restart_service("main-app")
    assert manager.load_pids()["main-app"] != pid
    assert manager.stop_service("main-app")
    assert manager.get_service_status("main-app") == "stopped"
    assert manager.load_pids() == {}
    assert manager.start("main-app")
    assert manager.get_all_services()["main-app"]["state"] == "RUNNING"
    with pytest.raises(ControlError, match="there is no process absent"):
        manager.get_service_status("absent")
    # Without a supervisor, pids.env and the kernel know.
    info = rig.answering()
    os.kill(info["guardian_pid"], signal.SIGSTOP)
    os.kill(info["pid"], signal.SIGKILL)
    until(lambda: not rig.alive(info["pid"]), "no supervisor")
    assert manager.get_service_status("main-app") == "running"
    os.kill(manager.load_pids()["main-app"], signal.SIGKILL)
    os.kill(info["guardian_pid"], signal.SIGCONT)
    rig.answering()


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A configuration in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="ps-") as directory:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        log = str(Path(directory, "b.log"))
        yield {
            "version": 1,
            "supervisor": {"run_dir": f"{directory}/run", "pids_file": f"{directory}/pids.env"},
            "processes": [
                {**SLEEPER, "name": "a", "depends_on": {"b": "started"}},
                {**SLEEPER, "name": "b", "stdout_logfile": log},
                {**SLEEPER, "name": "updater", "autostart": False},
            ],
        }


def test_the_api_of_a_program(config: dict[str, Any], until: Callable[..., Any]) -> None:
    supervisor = ProcessSupervisor(config)
    try:
        assert list(supervisor.processes) == ["a", "b", "updater"]
        supervisor.start_all_processes()
        supervisor.start_monitoring()
        until(lambda: supervisor.processes["a"].is_running(), "a runs")
        status = supervisor.get_all_status()
        assert {name: item["status"] for name, item in status.items()} == {
            "a": "running", "b": "running", "updater": "stopped"
        }  # fmt: skip
        running = supervisor.processes["b"].process
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
        until(lambda: supervisor.get_process_status("b")["restarts"] == 1, "b is replaced")
        assert supervisor.start_process("updater")
        assert supervisor.restart_process("updater")
        assert supervisor.stop_process("updater")
        assert supervisor.processes["updater"].process is None
        assert Client(f"{config['supervisor']['run_dir']}/control.sock").status("a")["pid"]
        with pytest.raises(KeyError, match="there is no process absent"):
            supervisor.start_process("absent")
        assert supervisor.stop_all_processes() == {"updater": True, "a": True, "b": True}
    finally:
        supervisor.shutdown()
    with pytest.raises(RuntimeError, match="has been shut down"):
        supervisor.get_all_status()


def test_without_monitoring_nothing_is_restarted(
    config: dict[str, Any], until: Callable[..., Any]
) -> None:
    supervisor = ProcessSupervisor(config)
    try:
        assert supervisor.start_process("b")
        pid = supervisor.get_process_status("b")["pid"]
        os.kill(pid, signal.SIGKILL)
        until(lambda: supervisor.processes["b"].status == "backoff", "b is down")
        supervisor.start_monitoring()
        until(lambda: supervisor.processes["b"].is_running(), "b is up again")
        supervisor.stop_monitoring()
        os.kill(supervisor.get_process_status("b")["pid"], signal.SIGKILL)
        until(lambda: supervisor.processes["b"].status == "backoff", "b is down again")
    finally:
        supervisor.shutdown()


ABANDON = """
import json, os, sys
from process_supervisor import ProcessSupervisor
supervisor = ProcessSupervisor(json.loads(sys.argv[1]))
supervisor.start_process("b")
print(supervisor.get_process_status("b")["pid"], flush=True)
os._exit(1)
"""


def test_a_program_that_dies_leaves_its_processes_to_the_next(config: dict[str, Any]) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", ABANDON, json.dumps(config)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=20)
    pid = int(done.stdout)
    supervisor = ProcessSupervisor(config)
    try:
        assert supervisor.get_process_status("b")["pid"] == pid
        with pytest.raises(RuntimeError, match="another supervisor"):
            ProcessSupervisor(config)
    finally:
        supervisor.shutdown()
    assert not os.path.exists(f"/proc/{pid}/exe")


def test_the_shared_supervisor(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    processes = [ProcessConfig("x", ["sleep", "1000"], autorestart=True, restart_limit=3)]
    supervisor = get_supervisor(processes)
    try:
        assert get_supervisor() is supervisor
        with pytest.raises(ConfigError):
            get_supervisor(processes)
        supervisor.add_process(ProcessConfig("y", ["sleep", "1000"], depends_on={"x": "started"}))
        with pytest.raises(ConfigError, match="no such process"):
            supervisor.add_process(ProcessConfig("z", ["z"], depends_on={"w": "started"}))
        assert supervisor.start_process("x")
        assert supervisor.start_process("y")
    finally:
        supervisor.shutdown()
    path = Path(config["supervisor"]["run_dir"]).parent / "c.json"
    path.write_text(json.dumps(config))
    monkeypatch.setenv("PROCESS_SUPERVISOR_CONFIG", str(path))
    again = get_supervisor()
    assert again is not supervisor
    assert "updater" in again.processes
    again.shutdown()


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for sockets and state, in which the program is, too."""
    short = Path(tempfile.mkdtemp(prefix="ps"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_configuration_there_is_none(
    at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROCESS_SUPERVISOR_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="PROCESS_SUPERVISOR_CONFIG"):
        get_supervisor()
    # Somebody who adds processes one after the other says so.
    get_supervisor([]).shutdown()


def test_a_command_in_one_piece_is_no_list_of_letters() -> None:
    with pytest.raises(ConfigError, match="command: must be a list"):
        ProcessConfig("x", command="python app.py")


def test_relative_paths_are_those_of_the_program_or_the_file(
    at_home: Path, monkeypatch: pytest.MonkeyPatch, until: Callable[..., Any]
) -> None:
    (at_home / "web").mkdir()
    web = ProcessConfig(
        "web", ["sh", "-c", "pwd; exec sleep 1000"], working_dir="web", stdout_logfile="logs/w.log"
    )
    supervisor = ProcessSupervisor([web])
    try:
        assert supervisor.start_process("web")
        # The program may go elsewhere.
        monkeypatch.chdir("/")
        log = at_home / "logs" / "w.log"
        until(lambda: log.exists() and log.read_text() == f"{at_home}/web\n", "it is there")
        assert supervisor.get_process_status("web")["stdout_logfile"] == str(log)
        # The supervisor's own is beside it.
        assert "web: STARTING -> RUNNING" in (at_home / "logs" / "supervisor.log").read_text()
    finally:
        supervisor.shutdown()
    file = at_home / "c.json"
    file.write_text(json.dumps({"version": 1, "supervisor": {"run_dir": "run"}, "processes": []}))
    monkeypatch.chdir("/")
    assert load(str(file)).socket == f"{at_home}/run/control.sock"


def test_processes_come_and_go_and_change(at_home: Path, until: Callable[..., Any]) -> None:
    def sleeper(name: str, seconds: str, **more: Any) -> ProcessConfig:
        return ProcessConfig(name, ["sleep", seconds], **more)

    supervisor = ProcessSupervisor([sleeper("a", "1000"), sleeper("b", "1000")])
    try:
        supervisor.start_all_processes()
        pids = {n: s["pid"] for n, s in supervisor.get_all_status().items()}
        changed = supervisor.reload([sleeper("a", "1000"), sleeper("b", "2000"), sleeper("c", "9")])
        assert (changed["added"], changed["restarted"]) == (["c"], ["b"])
        until(lambda: supervisor.processes["b"].is_running(), "b runs anew")
        assert supervisor.get_process_status("a")["pid"] == pids["a"]
        assert supervisor.get_process_status("b")["pid"] != pids["b"]
        supervisor.add_process(sleeper("d", "1000", depends_on={"a": "started"}))
        with pytest.raises(ConfigError, match="no such process"):
            supervisor.remove_process("a")
        assert supervisor.remove_process("d") and supervisor.remove_process("a")
        assert set(supervisor.processes) == {"b", "c"}
        assert not os.path.exists(f"/proc/{pids['a']}/exe")
        with pytest.raises(KeyError):
            supervisor.remove_process("a")
        with pytest.raises(ConfigError, match="no file"):
            supervisor.reload()
    finally:
        supervisor.shutdown()


def test_events_are_for_logging_too(at_home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    supervisor = ProcessSupervisor([ProcessConfig("a", ["sleep", "1000"])])
    try:
        supervisor.start_process("a")
    finally:
        supervisor.shutdown()
    said = [record for record in caplog.records if "a: STARTING -> RUNNING" in record.getMessage()]
    assert [(record.name, record.levelname) for record in said] == [("process_supervisor", "DEBUG")]


@pytest.mark.parametrize(
    "words",
    [["status"], ["status", "web", "db"], ["-s", "/run/s", "status", "--json", "web"],
     ["--socket", "/run/s", "status"]],
)  # fmt: skip
def test_a_plain_status_is_read_as_argparse_reads_it(words: list[str]) -> None:
    plain = plain_status(words)
    assert plain is not None
    assert vars(plain) == vars(parser().parse_args(words))


@pytest.mark.parametrize(
    "words",
    [[], ["-s"], ["status", "-h"], ["status", "--jso"], ["-s=/run/s", "status"], ["health"]],
)
def test_everything_else_is_left_to_argparse(words: list[str]) -> None:
    assert plain_status(words) is None


def test_versions_and_counts_are_told_as_people_write_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"process_supervisor {__version__}\n"
    helper = {"name": "space", "calls": 1, "starts": 2, "trouble": None, "pid": 7}
    assert show.plugins([helper]) == "space: 1 call, 2 starts, pid 7"
