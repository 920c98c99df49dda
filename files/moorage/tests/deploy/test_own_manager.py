"""Our supervisor as the manager of a stack's processes: a real one, and real processes.

They are launched as root on a host, in scopes of systemd; here each is its program alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moorage.deploy.release import Release
from moorage.deploy.runtimes.entering import write_variables
from moorage.deploy.runtimes.managers import launched, own
from moorage.deploy.runtimes.managers.base import Look, RuntimeFault
from moorage.deploy.runtimes.managers.own import Own
from moorage.release.layout import Layout
from moorage.release.manifest import parse
from moorage.release.native import Check, Process
from process_supervisor.control.client import Client, ControlError

SOURCES = Path(own.__file__).parents[4]
LAUNCH = """
import json, os, sys
process = json.load(open(sys.argv[1]))
if os.getuid() == 0:
    os.setgid(1)
    os.setuid(1)
os.execve("/bin/sh", process["command"], {"PATH": process["path"]})
"""


def process(service: str, script: str = "exec sleep 1000", **facts: Any) -> Process:
    return replace(
        Process(f"shop-{service}-1a", service, ("sh", "-c", script), "/", "/usr/bin:/bin", "1:1"),
        **{"restart": "always", **facts},
    )


class Host:
    """Runs the supervisor as the unit of systemd would."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.layout = Layout.of("shop", path / "opt", path / "run")
        self.layout.base.mkdir(parents=True)
        self.release = Release("1" * 12, path, parse({"topology": "host", "units": []}))
        self.own = Own(self.layout)
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.asked: list[tuple[str, ...]] = []
        monkeypatch.setattr(own, "LAUNCH", (sys.executable, "-c", LAUNCH))
        monkeypatch.setattr(own, "STATE", path / "state")
        monkeypatch.setattr(own, "LOGS", path / "logs")
        monkeypatch.setattr(own, "UNIT_DIRECTORY", path)
        for module in (own, launched):
            monkeypatch.setattr(module, "systemctl", self.systemctl)
        (path / "supervisor.service").write_text("[Service]\n")
        self.client = Client(str(self.layout.supervisor / "control.sock"), timeout=60)

    def systemctl(self, *argv: str, check: bool = True) -> str:
        running = self.supervisor is not None and self.supervisor.poll() is None
        self.asked.append(argv)
        # Of one that does not want to start systemd says "activating", and tries again.
        refused = self.supervisor is not None and self.supervisor.poll() == 78
        if not running and (argv[0] == "start" or (argv[0] == "is-active" and refused)):
            config = str(self.layout.processes / "supervisor.json")
            self.supervisor = subprocess.Popen(
                [sys.executable, "-m", "process_supervisor.init", "--takeover", "--config", config],
                env={**os.environ, "PYTHONPATH": str(SOURCES)},
            )
        elif argv[0] == "disable":
            self.end()
        return "active" if running else "activating" if refused else "inactive"

    def end(self) -> None:
        if self.supervisor is not None:
            self.supervisor.terminate()
            self.supervisor.wait(60)

    def is_guarded(self) -> bool:
        """Whether the supervisor is that of the guardian which was started last."""
        self.systemctl("start", "unit")  # as Restart=always does
        try:
            found: int = self.client.info()["guardian_pid"]
        except ControlError:
            return False
        return self.supervisor is not None and found == self.supervisor.pid

    def runs(self, *processes: Process) -> None:
        """Have these known and started."""
        for each in processes:
            write_variables(self.layout, each)
        self.own.install(self.release, {p.service: p for p in processes})
        self.own.start([p.unit for p in processes], timeout_seconds=60)

    def look(self, service: str) -> Look:
        unit = f"shop-{service}-1a"
        return self.own.look([unit])[unit]

    def until(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 60
        while not (value := condition()):
            assert time.monotonic() < deadline, self.client.status()
            time.sleep(0.02)
        return value


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    found = Host(tmp_path, monkeypatch)
    yield found
    found.end()


def test_adding_and_removing_one_leaves_the_others_alone(host: Host) -> None:
    host.runs(process("web"))
    web = host.look("web")
    assert (web.state, web.exit_code, web.refused) == ("running", 0, "")

    host.own.install(host.release, {"worker": process("worker")})
    assert host.look("worker") == Look("exited", health="starting"), "not before it is started"
    host.own.start(["shop-worker-1a"], timeout_seconds=60)
    worker = host.look("worker")
    assert worker.state == "running"

    host.own.remove(["shop-worker-1a"])
    assert host.own.look(["shop-worker-1a"]) == {}
    assert not Path(f"/proc/{worker.pid}").exists()
    assert host.look("web").pid == web.pid
    assert sorted(p.name for p in host.layout.processes.glob("*.json")) == [
        "shop-web-1a.json",
        "supervisor.json",
    ]
    assert host.layout.processes.stat().st_mode & 0o077 == 0

    state = own.STATE / "shop"
    assert state.is_dir()
    host.own.remove(["shop-web-1a"])
    assert host.supervisor is not None and host.supervisor.poll() == 0
    assert not host.layout.supervisor.exists() and not state.exists()
    assert not list(host.layout.processes.glob("*.json"))


def test_a_stop_waits_and_lasts_until_it_is_started(host: Host) -> None:
    host.runs(process("web", "trap 'sleep 0.3; exit 0' TERM; sleep 1000 & wait"), process("worker"))
    host.own.stop(["shop-web-1a", "shop-worker-1a"], timeout_seconds=60)
    assert host.look("web").state == host.look("worker").state == "exited"
    assert host.look("worker").exit_code == 128 + signal.SIGTERM
    host.own.start(["shop-worker-1a"], timeout_seconds=60)

    host.end()  # as at a shutdown
    assert host.own.look(["shop-web-1a"]) == {}
    host.systemctl("start", "unit")
    host.until(lambda: host.own.look(["shop-worker-1a"]))
    host.until(lambda: host.look("worker").state == "running")
    assert host.look("web").state == "exited"
    host.own.start(["shop-web-1a"], timeout_seconds=60)
    assert host.look("web").state == "running"
    before = host.look("web").pid
    host.own.restart("shop-web-1a", timeout_seconds=60)
    assert host.look("web").pid not in (0, before)


def test_what_detached_itself_from_it_ends_with_a_process(host: Host) -> None:
    kill = ("kill", "--signal=SIGKILL", "shop-web-1a.scope")
    host.runs(process("web"))
    assert kill not in host.asked
    host.own.stop(["shop-web-1a"], timeout_seconds=60)
    assert host.asked[-1] == kill
    host.own.start(["shop-web-1a"], timeout_seconds=60)
    host.asked.clear()
    host.own.remove(["shop-web-1a"])
    assert kill in host.asked


def test_one_that_takes_longer_than_that_is_named(host: Host) -> None:
    host.runs(
        process("web", "trap '' TERM; echo up; while :; do sleep 0.1; done", stop_seconds=1000)
    )
    host.until(lambda: host.own.logs("shop-web-1a", 1, times=True) == ["- up"])
    with pytest.raises(RuntimeFault, match=r"web-1a did not end within 0\.2 s"):
        host.own.stop(["shop-web-1a"], timeout_seconds=0.2)
    pid = host.look("web").pid
    host.own.remove(["shop-web-1a"])
    assert not Path(f"/proc/{pid}").exists()


def test_ends_are_told_as_an_engine_tells_them(host: Host) -> None:
    host.runs(
        process("done", "exit 0", restart="no", one_off=True),
        process("failed", "exit 3", restart="no"),
        process("again", "exit 4", delay=1000.0, delay_max=1000.0),
        process("given", "echo no luck; exit 5", restart="on-failure", attempts=0),
    )
    names = ("done", "failed", "again", "given")
    host.until(lambda: all(host.look(name).finished_at for name in names))
    host.until(lambda: host.look("given").state == "dead")
    found = {name: host.look(name) for name in names}
    assert {n: (f.state, f.exit_code) for n, f in found.items()} == {
        "done": ("exited", 0), "failed": ("exited", 3), "again": ("restarting", 4),
        "given": ("dead", 5),
    }  # fmt: skip
    assert "last: exited with status 5" in found["given"].refused
    assert host.own.logs("shop-given-1a", 5, times=False) == ["no luck"]
    # What runs once does not again at a boot.
    entries = json.loads((host.layout.processes / "supervisor.json").read_text())["processes"]
    assert {e["name"]: e["autostart"] for e in entries}["done-1a"] is False


def test_a_boot_has_an_order_and_waits_for_nobody_who_was_stopped(host: Host) -> None:
    after = ("shop-cache-1a", "shop-migrate-1a", "postgresql@17-shop")
    host.runs(
        process("cache"), process("migrate", "exit 0", restart="no", one_off=True),
        process("web", after=after),
    )  # fmt: skip

    def waited_for() -> list[str]:
        entries = json.loads((host.layout.processes / "supervisor.json").read_text())["processes"]
        return next(sorted(e["depends_on"]) for e in entries if e["name"] == "web-1a")

    assert waited_for() == ["cache-1a"]
    host.own.stop(["shop-cache-1a"], timeout_seconds=60)
    assert waited_for() == []
    host.own.restart("shop-web-1a", timeout_seconds=60)
    assert host.look("web").state == "running"


def test_health_is_the_supervisors_to_tell(host: Host) -> None:
    directory = tempfile.TemporaryDirectory()
    well = Path(directory.name) / "well"
    well.parent.chmod(0o755)  # the check is another user's
    check = Check(
        command=("test", "-e", str(well)), interval=0.1, start_interval=0.1, restart=False
    )
    host.runs(process("web", check=check))
    host.until(lambda: host.look("web").health == "unhealthy")
    assert [line for line in host.look("web").health_log if "exited with 1" in line]
    well.touch()
    host.until(lambda: host.look("web").health == "healthy")
    assert host.look("web").health_log == ()
    directory.cleanup()


def test_killed_supervisors_leave_processes_alone(host: Host) -> None:
    host.runs(process("web"))
    pid = host.look("web").pid
    os.kill(host.client.info()["pid"], signal.SIGKILL)
    assert host.look("web").pid == pid
    assert host.supervisor is not None
    host.supervisor.kill()
    host.supervisor.wait(60)
    host.until(host.is_guarded)
    assert host.look("web").pid == pid
    assert host.own.by_hand("restart", "shop-web-1a") == ["moorage", "restart", "shop", "web"]


@pytest.mark.parametrize("left", ["", '{"version": 1, "proc', None])
def test_what_it_is_told_is_made_anew_where_it_is_damaged_or_lost(
    host: Host, left: str | None
) -> None:
    host.runs(process("web"), process("worker"))
    host.own.stop(["shop-worker-1a"], timeout_seconds=60)
    path = host.layout.processes / "supervisor.json"
    path.write_text(left) if left is not None else path.unlink()
    assert host.look("web").state == "running", "it needs none while it runs"
    host.end()
    host.systemctl("start", "unit")
    host.until(lambda: host.supervisor is not None and host.supervisor.poll() == 78)
    host.until(lambda: host.look("web").state == "running")
    assert host.look("worker").state == "exited"
