"""Plug-ins, in real helpers: what they are asked, and what they cannot do to anybody."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from process_supervisor import ProcessConfig, ProcessSupervisor
from process_supervisor.common.loop import EventLoop
from process_supervisor.config.plugins import PluginConfig
from process_supervisor.config.reader import ConfigError, Reader
from process_supervisor.config.settings import Config
from process_supervisor.plugins.helper import MOST_WAITING, Helper
from process_supervisor.plugins.plugins import SUFFIX

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig

EXAMPLES = Path(__file__).parents[4] / "examples/plugins"
SLEEPER = {"command": ["sleep", "1000"]}
QUICK = {"interval": 0.05, "start_interval": 0.05, "start_period": 0, "retries": 2}
SOURCE = '''
import json, os, subprocess, sys, time

class Check:
    """Does what a file says."""
    def __init__(self, path, limit=0):
        self.path = path

    def check_health(self, process_name, process_info):
        with open(self.path) as file:
            word = file.read().strip()
        if word == "hang":
            time.sleep(1000)
        elif word == "end":
            os._exit(3)
        elif word == "leave":
            subprocess.Popen(["sleep", "1001"], start_new_session=True)
            os._exit(4)
        elif word == "desert":
            for _ in range(30):
                subprocess.Popen(["sleep", "1001"], start_new_session=True)
            time.sleep(1000)
        elif word == "deep":
            os.write(4, b"[" * 60000 + b"\\n")
        elif word == "leak":
            hoard = [bytearray(1 << 20) for _ in range(100000)]
        elif word == "flood":
            while True:
                print("x" * 1000)
        elif word == "endless":
            return "x" * (1 << 20)
        elif word == "lie":
            os.write(4, b"nonsense\\n" * 100)
            for fd in range(3, 20):
                try:
                    os.write(fd, b'{"id": 77, "result": false}\\n')
                except OSError:
                    pass
        elif word == "raise":
            raise ConnectionError("nobody answers")
        elif word == "false":
            return False
        elif word == "reason":
            return f"{process_name} {process_info['status']}: the queue is full"
        return True

class Listener:
    def __init__(self, path):
        self.path = path

    def on_event(self, event):
        with open(self.path, "a") as file:
            print(json.dumps(event), file=file)
'''


def plugin(rig: Rig, name: str = "Check", **more: Any) -> dict[str, Any]:
    """Write the plug-ins' file and return what the configuration has of one."""
    rig.path("watch.py").write_text(SOURCE)
    return {"name": "watch", "class": f"watch.py:{name}", **more}


def watched(rig: Rig, **more: Any) -> None:
    """Start a process that a plug-in looks at, by what the file `word` says."""
    rig.path("word").write_text("well")
    settings = {"path": str(rig.path("word"))}
    rig.more = {"plugins": [plugin(rig, settings=settings, timeout=2, **more)]}
    check = {"type": "plugin", "plugin": "watch", **QUICK}
    rig.start({"name": "web", **SLEEPER, "health_check": check}, {"name": "other", **SLEEPER})
    rig.until(lambda: rig.status("web")["health"] == "healthy", "web is well")


def helper(rig: Rig) -> dict[str, Any]:
    """What is said of the plug-in."""
    found: dict[str, Any] = rig.client.plugins()[0]
    return found


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("false", "unhealthy: plug-in watch: it is not well"),
        ("reason", "unhealthy: plug-in watch: web running: the queue is full"),
        ("raise", "unhealthy: plug-in watch: ConnectionError: nobody answers"),
    ],
)
def test_what_a_plug_in_finds_unwell_is_restarted(rig: Rig, word: str, reason: str) -> None:
    watched(rig)
    pid = rig.pid("web")
    rig.path("word").write_text(word)
    rig.new_pid("web", pid)
    reasons = [item.get("reason") for item in rig.client.events(limit=1000)]
    assert reason in reasons
    assert rig.status("other")["restarts"] == 0


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("hang", "check_health took longer than 2 s"),
        ("end", "it has ended"),
        ("leave", "it has ended"),
        ("desert", "check_health took longer than 2 s"),
        ("deep", "it answered what nobody asked"),
        ("leak", "MemoryError"),
        ("flood", "check_health took longer than 2 s"),
        ("endless", "its answer has no end"),
        ("lie", "it answered what nobody asked"),
    ],
)
def test_a_plug_in_that_does_harm_does_it_to_itself_alone(rig: Rig, word: str, said: str) -> None:
    watched(rig)
    pids = {name: rig.pid(name) for name in ("web", "other")}
    rig.path("word").write_text(word)
    found = rig.until(lambda: helper(rig)["trouble"], "its trouble is seen")
    assert said in found
    # Nobody is blamed for what it does, and the supervisor answers meanwhile.
    rig.until(lambda: helper(rig)["starts"] >= 2, "it was started again")
    assert {name: rig.pid(name) for name in pids} == pids
    assert rig.status("web")["health"] == "healthy"
    rig.path("word").write_text("well")
    rig.until(lambda: helper(rig)["trouble"] is None, "it works again")
    words = [item for item in rig.client.events(limit=1000) if item["event"] == "plugin"]
    assert said in words[0]["reason"] and "reason" not in words[-1]
    rig.until(lambda: rig.family("watch" + SUFFIX) == [helper(rig)["pid"]], "nothing is left of it")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("watch.py:Absent", "has no attribute 'Absent'"),
        ("absent", "there is no entry point absent"),
    ],
)
def test_one_that_cannot_be_loaded_says_why(rig: Rig, target: str, said: str) -> None:
    rig.more = {"plugins": [{**plugin(rig), "class": target}]}
    rig.start({"name": "web", **SLEEPER})
    found = rig.until(lambda: helper(rig)["trouble"], "its trouble is seen")
    assert "cannot load" in found and said in found


def test_listeners_hear_what_happens(rig: Rig) -> None:
    heard = rig.path("heard")
    rig.more = {"plugins": [plugin(rig, "Listener", settings={"path": str(heard)})]}
    rig.start({"name": "web", **SLEEPER})
    rig.until(lambda: helper(rig)["does"], "it listens")
    os.kill(rig.pid("web"), signal.SIGKILL)
    rig.until(lambda: heard.exists() and '"to": "BACKOFF"' in heard.read_text(), "it has heard")


def test_another_supervisor_leaves_no_helper_behind(rig: Rig) -> None:
    watched(rig)
    rig.path("word").write_text("hang")
    old = helper(rig)["pid"]
    rig.kill_supervisor()
    rig.path("word").write_text("well")
    new = rig.until(lambda: helper(rig)["pid"], "another helper")
    assert new != old
    rig.until(lambda: rig.family("watch" + SUFFIX) == [helper(rig)["pid"]], "the old one is gone")
    assert rig.shut_down() == 0
    assert rig.family("watch" + SUFFIX) == []


def test_a_reload_brings_and_takes_plug_ins(rig: Rig) -> None:
    watched(rig)
    before = helper(rig)["pid"]
    rig.configure(*rig.processes)
    rig.client.reload()
    assert helper(rig)["pid"] == before
    rig.more = {}
    rig.configure({"name": "web", **SLEEPER})
    rig.client.reload()
    assert rig.client.plugins() == []
    rig.until(lambda: not rig.family("watch" + SUFFIX), "it is gone")


def test_trouble_is_over_when_another_plug_in_has_its_place(rig: Rig) -> None:
    watched(rig)
    rig.more["alerts"] = {"channels": [{"name": "none", "type": "command", "command": ["true"]}]}
    rig.configure(*rig.processes)
    rig.client.reload()
    rig.path("word").write_text("end")

    def alert() -> dict[str, Any]:
        found: list[dict[str, Any]] = rig.client.alerts()["alerts"]
        return next((item for item in found if item["kind"] == "plugin"), {})

    rig.until(lambda: alert() and helper(rig)["trouble"], "its trouble is told")
    rig.path("word").write_text("well")
    rig.more["plugins"][0]["timeout"] = 3
    rig.configure(*rig.processes)
    rig.client.reload()
    rig.until(lambda: alert().get("over"), "it is over")


def test_a_question_that_is_taken_back_is_not_asked(rig: Rig) -> None:
    loop = EventLoop()
    config = PluginConfig(Reader(plugin(rig, settings={"path": "x"}), "test", []), "/")
    asked = Helper(loop, config, 1, list, lambda trouble: None)
    for _ in range(MOST_WAITING + 1):
        asked.forget(asked.call("check_health", ["web", {}], lambda result, trouble: None))
    assert asked.lost == 0
    loop.close()


def test_mistakes_are_named() -> None:
    check = {"type": "plugin", "plugin": "absent"}
    processes = [{"name": "web", **SLEEPER, "health_check": check}]
    plugins = [{"name": "a", "class": "x:Y"}, {"name": "a"}, {"name": "b", "class": "x:Y", "z": 1}]
    with pytest.raises(ConfigError) as caught:
        Config({"version": 1, "supervisor": {"plugins": plugins}, "processes": processes})
    text = str(caught.value)
    assert "the name a is used twice" in text and "plugins a: class: is required" in text
    assert "plugins b: z: is not a known setting" in text
    assert "process web: health_check: there is no plug-in absent (there are: a, b)" in text


def test_the_examples_do_what_they_say(rig: Rig) -> None:
    answers: list[Any] = []

    class Robot(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"errcode": 0, "errmsg": "ok"}')

    robot = ThreadingHTTPServer(("127.0.0.1", 0), Robot)
    threading.Thread(target=robot.serve_forever, daemon=True).start()
    rig.path("url").write_text(f"http://127.0.0.1:{robot.server_address[1]}/send?key=1\n")
    table = rig.path("table.csv")
    named = {
        "space": ("free_space.py:FreeSpace", {"directory": "/", "least_mb": 1 << 40}),
        "times": ("run_times.py:RunTimes", {"path": str(table)}),
        "wecom": ("wecom.py:WeCom", {"url_file": str(rig.path("url"))}),
    }
    rig.more = {
        "plugins": [
            {"name": name, "class": str(EXAMPLES / target), "settings": settings}
            for name, (target, settings) in named.items()
        ],
        "alerts": {"channels": [{"name": "group", "type": "plugin", "plugin": "wecom"}]},
    }
    check = {"type": "plugin", "plugin": "space", **QUICK, "restart_when_unhealthy": False}
    rig.start({"name": "web", **SLEEPER, "health_check": check})
    rig.until(lambda: answers, "the robot was told")
    robot.shutdown()
    robot.server_close()
    assert "web is unhealthy: plug-in space: / has " in answers[0]["text"]["content"]
    os.kill(rig.pid("web"), signal.SIGKILL)
    rig.until(table.exists, "how long it ran is written down")
    assert table.read_text().startswith("web,") and "SIGKILL" in table.read_text()


class CustomHealthChecker:
    """As the documentation has one."""

    def __init__(self, path: str) -> None:
        self.path = path

    def check_health(self, process_name: str, process_info: dict[str, Any]) -> bool:
        """Look whether there is a file."""
        return Path(self.path).exists()


def test_a_program_adds_one(until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="ps-") as directory:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        there = Path(directory, "there")
        there.touch()
        supervisor = ProcessSupervisor()
        try:
            with pytest.raises(ConfigError, match="a module with a file"):
                supervisor.add_plugin(type("Local", (), {}))
            name = supervisor.add_plugin(CustomHealthChecker, path=str(there))
            check = {"type": "plugin", "plugin": name, **QUICK}
            supervisor.add_process(ProcessConfig("web", ["sleep", "1000"], health_check=check))
            supervisor.start_monitoring()
            supervisor.start_process("web")
            until(lambda: supervisor.get_process_status("web")["health"] == "healthy", "it is well")
            there.unlink()
            until(lambda: supervisor.get_process_status("web")["restarts"], "it was restarted")
            # A configuration that says nothing of it leaves it there.
            again = ProcessConfig("web", ["sleep", "1001"], health_check=check)
            assert supervisor.reload([again])["restarted"] == ["web"]
            there.touch()
            until(lambda: supervisor.get_process_status("web")["health"] == "healthy", "it is well")
        finally:
            supervisor.shutdown()


class Hanging:
    """Starts something for itself and is not heard of any more."""

    def __init__(self, path: str) -> None:
        self.path = path

    def check_health(self, process_name: str, process_info: dict[str, Any]) -> None:
        """Hang."""
        child = subprocess.Popen(["sleep", "1002"], start_new_session=True)
        Path(self.path).write_text(f"{child.pid}\n")
        child.wait()


def test_a_shutdown_leaves_nothing_of_one_that_hangs(
    until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, rig: Rig
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(rig.directory))
    supervisor = ProcessSupervisor()
    try:
        name = supervisor.add_plugin(Hanging, path=str(rig.path("pid")))
        check = {"type": "plugin", "plugin": name, **QUICK}
        supervisor.add_process(ProcessConfig("web", ["sleep", "1000"], health_check=check))
        supervisor.start_process("web")
        pid = int(until(lambda: rig.path("pid").exists() and rig.path("pid").read_text(), "a pid"))
        assert rig.alive(pid)
    finally:
        supervisor.shutdown()
    assert not rig.alive(pid)


def test_a_question_that_is_too_long_is_not_asked(rig: Rig) -> None:
    rig.path("word").write_text("well")
    check = {"type": "plugin", "plugin": "watch", **QUICK}
    rig.more = {"plugins": [plugin(rig, settings={"path": str(rig.path("word"))})]}
    labels = {"long": "x" * 70_000}
    web = {"name": "web", **SLEEPER, "health_check": check}
    rig.start(web, {**web, "name": "huge", "labels": labels})
    rig.until(lambda: rig.status("web")["health"] == "healthy", "web is well")
    rig.until(lambda: "bytes is too long" in (rig.status("huge")["reason"] or ""), "it is told")
    assert rig.status("huge")["state"] == "RUNNING"
    assert (helper(rig)["starts"], helper(rig)["trouble"]) == (1, None)
