"""A watcher of real processes: a manager that forks them, and checks that ask them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moorage.common.lock import hold
from moorage.control.audit import Audit
from moorage.control.contract import ControlError, Health, State
from moorage.control.http import HttpBackend
from moorage.control.journal import Journal
from moorage.control.membership import Membership
from moorage.control.routes import Api
from moorage.control.server import Server
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release
from moorage.deploy.runtimes.entering import write_variables
from moorage.deploy.runtimes.managers.base import Look, RuntimeFault
from moorage.deploy.runtimes.native import Native
from moorage.deploy.runtimes.records import Record, rename_record, write_record
from moorage.release.layout import Layout
from moorage.release.manifest import FORMAT, Manifest, Service, Unit, text_of
from moorage.release.names import MANIFEST
from moorage.release.native import Check, Process
from moorage.watch.backend import NativeBackend
from moorage.watch.sight import Sight
from moorage.watch.watcher import HEALTH, Watcher
from process_supervisor.common.loop import EventLoop

STACK = "shop"
# Answers with what a file says, or not at all where there is none.
WEB = """
import http.server, pathlib, sys, time
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = pathlib.Path(sys.argv[1])
        while not said.exists():
            time.sleep(0.02)
        self.send_response(int(said.read_text()))
        self.end_headers()
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
pathlib.Path(sys.argv[2]).write_text(str(server.server_port))
server.serve_forever()
"""


def eventually(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Return the condition's value once it is true; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return value


class Forks:
    """A manager that forks; nothing is started again that it has not been told to start."""

    def __init__(self) -> None:
        self.commands: dict[str, Sequence[str]] = {}
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.ended: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.restarts: dict[str, int] = {}

    def install(self, release: Release, processes: Mapping[str, Process]) -> None: ...

    def remove(self, units: Sequence[str]) -> None:
        self.stop(units, timeout_seconds=10.0)

    def look(self, units: Collection[str]) -> dict[str, Look]:
        found = {}
        for unit in units:
            child = self.children.get(unit)
            code = child.poll() if child else None
            if child is not None and code is None:
                found[unit] = Look("running", child.pid, restarts=self.restarts.get(unit, 0))
            else:
                code = 128 - code if code is not None and code < 0 else code or 0
                at = "2026-11-30T06:00:00.0Z" if child else ""
                found[unit] = Look("exited", exit_code=code, finished_at=at)
        return found

    def start(self, units: Sequence[str], *, timeout_seconds: float) -> None:
        for unit in units:
            self.asked.append(("start", unit))
            if not self.look([unit])[unit].pid:
                self.children[unit] = subprocess.Popen(self.commands[unit])

    def stop(self, units: Sequence[str], *, timeout_seconds: float) -> None:
        for unit in units:
            self.asked.append(("stop", unit))
            self.by_itself(unit)

    def by_itself(self, unit: str, number: int = signal.SIGTERM) -> None:
        """End one without its manager's being asked."""
        child = self.children[unit]
        child.send_signal(number)
        child.wait()

    def restart(self, unit: str, *, timeout_seconds: float) -> None:
        self.stop([unit], timeout_seconds=timeout_seconds)
        self.start([unit], timeout_seconds=timeout_seconds)

    def hold(self, units: Sequence[str]) -> None:
        self.asked += [("hold", unit) for unit in units]

    def forgive(self, units: Sequence[str]) -> None:
        self.asked += [("forgive", unit) for unit in units]

    def settle(self) -> None: ...

    def limit(self, unit: str, pids: int) -> None: ...

    def logs(self, unit: str, lines: int, times: bool) -> list[str]:
        return [f"{unit} says so"]

    def follow(self, unit: str, lines: int, times: bool) -> list[str]:
        return ["sh", "-c", f"echo first of {unit}; echo second; exec sleep 600"]

    def by_hand(self, verb: str, unit: str) -> list[str]:
        return [verb, unit]

    def apart(
        self, release: Release, key: str, process: Process, command: Sequence[str], terminal: bool
    ) -> list[str]:
        raise RuntimeFault("not here")


class Rig:
    """A stack of processes below a directory, and its watcher."""

    def __init__(self, directory: Path) -> None:
        self.layout = Layout.of(STACK, directory / "opt", directory / "run")
        self.layout.base.mkdir(parents=True)
        self.layout.watch.mkdir(parents=True)
        self.manager = Forks()
        self.native = Native(self.layout, {"forks": self.manager, "supervisor": self.manager})
        self.directory = directory
        self.loop: EventLoop | None = None
        self.names: list[str] = []

    def process(self, service: str, check: Check | None = None, **more: Any) -> str:
        """Have a process of a service, and return its unit."""
        unit = f"{STACK}-{service}@1a"
        command, manager = more.pop("command", ("sleep", "600")), more.pop("manager", "forks")
        self.manager.commands[unit] = command
        made = Process(
            unit, service, command, str(self.directory), os.environ["PATH"],
            f"{os.getuid()}:{os.getgid()}", check=check,
            **{"restart": "unless-stopped", **more},
        )  # fmt: skip
        record = Record("key", "0" * 12, manager, made, service, "config", "image", started=True)
        write_record(self.layout, f"{STACK}-{service}", record)
        write_variables(self.layout, made)
        self.manager.start([unit], timeout_seconds=10.0)
        self.names.append(service)
        return unit

    def web(self, **check: Any) -> str:
        """Have a process that is asked by a URL; `say` is what it answers."""
        port = self.directory / "port"
        said = str(self.directory / "said")
        unit = self.process("web", command=(sys.executable, "-c", WEB, said, str(port)))
        number = eventually(lambda: port.exists() and port.read_text(), "its port")
        often = {"interval": 0.05, "timeout": 0.5, "retries": 2, "start_interval": 0.05}
        made = Check(f"http://127.0.0.1:{number}/", **{**often, **check})
        name = f"{STACK}-web"
        record = self.native._record(name)
        write_record(
            self.layout, name, replace(record, process=replace(record.process, check=made))
        )
        return unit

    def say(self, status: int) -> None:
        """Have the web process answer so."""
        scratch = self.directory / "scratch"
        scratch.write_text(str(status))
        scratch.rename(self.directory / "said")

    def watch(self) -> Watcher:
        """Begin to watch."""
        units = tuple(
            Unit(f"{STACK}-{name}", name, "config", False, {"a": name}) for name in self.names
        )
        services = tuple(
            Service(name, "container", containers=(f"{STACK}-{name}",)) for name in self.names
        )
        manifest = text_of(
            Manifest("host", format=FORMAT, stack=STACK, services=services, units=units)
        )
        self.layout.current.mkdir(exist_ok=True)
        (self.layout.current / MANIFEST).write_text(manifest)
        self.loop = EventLoop()
        self.sight = Sight(self.layout, self.native)
        self.journal = Journal(str(self.directory / "events.jsonl"))
        self.membership = Membership(STACK, self.layout.current / MANIFEST)
        watcher = Watcher(
            self.layout, self.native, self.loop, self.sight, self.journal, self.membership
        )
        self.watcher = watcher
        threading.Thread(target=watcher.keep_looking, daemon=True).start()
        self.thread = threading.Thread(target=self.loop.run, daemon=True)
        self.thread.start()
        return watcher

    def end(self) -> None:
        """Watch no more."""
        if self.loop is not None:
            self.watcher.end()
            self.loop.stop()
            self.thread.join()
            self.loop = None

    def health(self, unit: str) -> dict[str, Any]:
        """Return what the watcher has written of a unit."""
        path = self.layout.watch / HEALTH
        found = json.loads(path.read_text()) if path.exists() else {}
        return dict(found.get(unit, {}))

    def is_(self, unit: str, health: str) -> Callable[[], bool]:
        """Return the condition that a unit's run is so."""
        return lambda: (
            self.health(unit).get("health") == health
            and self.health(unit)["pid"] == self.manager.children[unit].pid
        )

    def told(self, service: str) -> list[tuple[str, str]]:
        """Return what has happened to a service."""
        events = self.journal.since(0, 500)
        return [(e.kind, e.message) for e in events if e.service == service]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A stack, whose processes end with the test."""
    made = Rig(tmp_path)
    try:
        yield made
    finally:
        made.end()
        for child in made.manager.children.values():
            child.kill()
            child.wait()


def instance(rig: Rig, name: str) -> Instance:
    return next(i for i in rig.native.instances(STACK) if i.name == f"{STACK}-{name}")


def test_a_torn_record_is_named_with_what_mends_it(rig: Rig) -> None:
    rig.process("web")
    path = rig.layout.instances / f"{STACK}-web.json"
    path.write_text("")
    assert rig.native.has(f"{STACK}-web")
    for look in (lambda: rig.native.instances(STACK), lambda: rig.native.logs(f"{STACK}-web", 1)):
        said = ""
        try:
            said = "\n".join(map(str, look()))
        except RuntimeFault as fault:
            said = str(fault)
        assert f"{path} is damaged: it is empty. End what runs of it, remove that file" in said


def test_a_process_is_well_when_its_url_says_so_and_started_anew_when_it_does_not(rig: Rig) -> None:
    unit = rig.web()
    assert instance(rig, "web").health == "starting"
    rig.say(200)
    rig.watch()
    eventually(rig.is_(unit, "healthy"), "healthy")
    assert instance(rig, "web").health == "healthy"
    before = rig.manager.children[unit].pid
    rig.say(500)
    eventually(lambda: rig.manager.children[unit].pid != before, "a restart")
    told = rig.told("web")
    assert ("health", "→ unhealthy") in told
    assert ("restart", "") in told


def test_what_is_only_to_be_known_is_left_running(rig: Rig) -> None:
    unit = rig.web(restart=False)
    rig.say(503)
    rig.watch()
    eventually(rig.is_(unit, "unhealthy"), "unhealthy")
    assert instance(rig, "web").health_log[-1].endswith("HTTP status 503")
    rig.say(200)
    eventually(rig.is_(unit, "healthy"), "healthy again")
    assert ("stop", unit) not in rig.manager.asked


def test_a_check_that_hangs_holds_nobody_up(rig: Rig) -> None:
    web = rig.web(timeout=600.0)
    rig.process("other", Check(command=("true",), interval=0.05))
    rig.watch()
    eventually(rig.is_(f"{STACK}-other@1a", "healthy"), "the other one is asked")
    assert rig.health(web)["health"] == "starting"


def test_a_command_is_asked_as_the_user_of_the_process(rig: Rig) -> None:
    script = "id -u; echo $SHOP; pwd; kill -0 $PPID 2>/dev/null && echo mighty; exit 3"
    rig.directory.chmod(0o755)
    unit = rig.process(
        "task",
        Check(command=("sh", "-c", script), interval=0.05, retries=1, restart=False),
        environment={"SHOP": "open"},
    )
    name = f"{STACK}-task"
    record = rig.native._record(name)
    process = replace(record.process, user="65534:65534", directory="/")
    write_record(rig.layout, name, replace(record, process=process))
    rig.watch()
    eventually(rig.is_(unit, "unhealthy"), "unhealthy")
    assert rig.health(unit)["log"][-1].endswith("sh exited with 3: 65534\nopen\n/")


def test_a_stop_by_hand_is_for_good_until_somebody_starts_it(rig: Rig) -> None:
    unit = rig.process("task")
    rig.watch()
    eventually(lambda: rig.health(unit), "it is watched")
    rig.manager.by_itself(unit)
    eventually(lambda: ("hold", unit) in rig.manager.asked, "held")
    assert "held" in dict(rig.told("task"))
    rig.manager.asked.clear()
    rig.manager.children[unit] = subprocess.Popen(["sleep", "600"])
    eventually(lambda: ("start", unit) in rig.manager.asked, "wanted again, at a boot too")
    assert rig.manager.asked.count(("hold", unit)) == 0


def test_what_supervisor_has_forgotten_is_started(rig: Rig) -> None:
    unit = rig.process("task", restart="on-failure", manager="supervisor")
    rig.watch()
    eventually(lambda: rig.health(unit), "it is watched")
    rig.manager.asked.clear()
    child = rig.manager.children.pop(unit)
    child.kill()
    child.wait()
    eventually(lambda: rig.manager.asked, "something is done")
    assert rig.manager.asked == [("start", unit)]


def test_what_was_made_while_it_was_stopped_is_seen_when_somebody_starts_it(rig: Rig) -> None:
    unit, name = rig.process("task"), f"{STACK}-task"
    rig.manager.by_itself(unit)
    write_record(rig.layout, name, replace(rig.native._record(name), started=False))
    rig.watch()
    steady = rig.process("steady")
    eventually(lambda: rig.health(steady), "it watches")
    assert [i.state for i in rig.native.instances(STACK) if i.id == unit] == ["created"]
    rig.manager.asked.clear()
    rig.manager.children[unit] = subprocess.Popen(["sleep", "600"])
    eventually(lambda: ("start", unit) in rig.manager.asked, "wanted, at a boot too")
    eventually(lambda: rig.health(unit), "it is watched")
    assert rig.native._record(name).started


def test_what_ends_by_itself_is_not_held(rig: Rig) -> None:
    unit = rig.process("once", command=("sh", "-c", "exit 3"), restart="no")
    steady = rig.process("steady")
    rig.watch()
    rig.manager.by_itself(steady)
    eventually(lambda: ("hold", steady) in rig.manager.asked, "the other one is held")
    assert ("hold", unit) not in rig.manager.asked


def test_an_end_that_nobody_saw_is_known_after_the_next_boot(rig: Rig) -> None:
    unit = rig.process("once", command=("sh", "-c", "exit 3"), restart="no")
    rig.manager.children[unit].wait()
    rig.watch()
    found = eventually(lambda: rig.journal.last_exit("once"), "how it has ended")
    assert found.code == 3
    rig.watcher.look()
    rig.watcher.look()
    ends = [event for event in rig.journal.since(0, 100) if "exited" in event.message]
    assert len(ends) == 1


def test_restarts_before_a_long_run_are_forgotten(rig: Rig) -> None:
    long = rig.process("long", window=1.0, attempts=9)
    short = rig.process("short", attempts=9)
    rig.process("calm", window=1.0)
    rig.manager.restarts = {long: 9, short: 9}
    rig.watch()
    eventually(lambda: ("forgive", long) in rig.manager.asked, "its pauses begin anew")
    rig.watcher.look()
    assert [what for what in rig.manager.asked if what[0] == "forgive"] == [("forgive", long)]


def test_a_rollout_is_left_alone(rig: Rig) -> None:
    web, task = rig.web(), rig.process("task")
    rig.say(500)
    with hold(rig.layout.lock, "rollout", "test"):
        rig.watch()
        rig.manager.by_itself(task)
        eventually(rig.is_(web, "unhealthy"), "unhealthy")
        rig.layout.marker.touch()
    before = len(rig.manager.asked)
    rig.process("last", Check(command=("true",), interval=0.05))
    eventually(rig.is_(f"{STACK}-last@1a", "healthy"), "it goes on looking")
    # The marker of an interrupted one is there.
    assert rig.manager.asked[before:] == [("start", f"{STACK}-last@1a")]
    rig.layout.marker.unlink()
    eventually(lambda: ("stop", web) in rig.manager.asked, "restarted afterwards")
    eventually(lambda: ("hold", task) in rig.manager.asked, "held afterwards")


def test_a_candidate_is_checked_and_never_started_anew(rig: Rig) -> None:
    unit = rig.web()
    rename_record(rig.layout, f"{STACK}-web", f"{STACK}-web-next")
    rig.say(500)
    rig.watch()
    eventually(rig.is_(unit, "unhealthy"), "unhealthy")
    rig.manager.asked.clear()
    rename_record(rig.layout, f"{STACK}-web-next", f"{STACK}-web")
    eventually(lambda: ("stop", unit) in rig.manager.asked, "it has its name")


def test_what_was_well_is_so_for_the_next_watcher(rig: Rig) -> None:
    # However long the machine takes to look: what is not carried over is `starting` until then.
    unit = rig.web(retries=1000)
    rig.say(200)
    rig.watch()
    eventually(rig.is_(unit, "healthy"), "healthy")
    rig.end()
    (rig.directory / "said").unlink()
    rig.watch()
    rig.process("new")
    eventually(lambda: rig.health(f"{STACK}-new@1a"), "the next one looks")
    assert rig.health(unit)["health"] == "healthy"


@pytest.fixture
def control(rig: Rig) -> Iterator[HttpBackend]:
    """The control API of a stack with a process `task`."""
    rig.process("task")
    watcher = rig.watch()
    backend = NativeBackend(rig.native, rig.sight, rig.membership, rig.journal, watcher)
    api = Api(backend, stack=STACK, kind="process", audit=Audit(None))
    path = str(rig.directory / "control.sock")
    server = Server(api, path)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield HttpBackend(path)
    finally:
        server.stop()
        thread.join()


def test_a_process_is_stopped_for_good_and_started_by_name(rig: Rig, control: HttpBackend) -> None:
    unit = f"{STACK}-task@1a"
    (found,) = control.services()
    assert (found.name, found.state, found.health) == ("task", State.RUNNING, Health.NONE)
    assert found.pid == rig.manager.children[unit].pid
    stopped = control.perform("stop", "task", who="ada", reason="too loud")
    assert (stopped.state, stopped.wanted, stopped.pid) == (State.STOPPED, "down", None)
    assert rig.manager.asked[-2:] == [("stop", unit), ("hold", unit)]
    started = control.perform("start", "task", who="ada")
    assert (started.state, started.wanted) == (State.RUNNING, "up")
    restarted = control.perform("restart", "task", who="ada")
    assert restarted.pid not in (None, started.pid)
    requests = [e for e in control.events() if e.kind == "request"]
    assert [(e.message, e.who) for e in requests] == [
        ("op stop", "ada"), ("op start", "ada"), ("op restart", "ada"),
    ]  # fmt: skip
    assert requests[0].reason == "too loud"
    eventually(lambda: ("state", "→ running") in rig.told("task"), "its start is noted")


def test_what_is_not_the_stacks_own_is_nothing(rig: Rig, control: HttpBackend) -> None:
    before = list(rig.manager.asked)
    for name in ("other", f"{STACK}-task", f"{STACK}-task@1a", "sshd.service"):
        with pytest.raises(ControlError) as refusal:
            control.perform("stop", name, who="eve")
        assert refusal.value.status == 404
    assert rig.manager.asked == before


def test_a_log_is_read_and_followed(control: HttpBackend) -> None:
    assert control.logs("task", lines=5) == [f"{STACK}-task@1a says so"]
    following = control.follow("task")
    lines = [next(following), next(following)]
    assert lines == [f"first of {STACK}-task@1a", "second"]
    with suppress(AttributeError):
        following.close()  # type: ignore[attr-defined]
