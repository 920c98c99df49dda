"""A real supervisor under its real guardian, in a directory of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from process_supervisor.common import procfs
from process_supervisor.control.client import Client, ControlError

SOURCES = Path(__file__).parents[2] / "src"


def until(
    condition: Callable[[], Any], what: str, timeout: float = 60.0, pause: float = 0.01
) -> Any:
    """Poll until a condition is true and return its value; fail with `what` after timeout."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}; last seen: {value!r}")
        time.sleep(pause)


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    facts = procfs.stat(pid)
    return facts is not None and facts.state not in "ZX"


def log_files(path: Path) -> list[bytes]:
    """A log's files, oldest first."""
    numbered = sorted(path.parent.glob(f"{path.name}.[0-9]*"), key=lambda p: -int(p.suffix[1:]))
    return [item.read_bytes() for item in (*numbered, path) if item.exists()]


class Rig:
    """Starts, watches and ends one supervisor."""

    until = staticmethod(until)
    alive = staticmethod(alive)
    log_files = staticmethod(log_files)

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.run_dir = directory / "run"
        self.config_path = directory / "supervisor.json"
        self.output = directory / "guardian.out"
        self.guardian: subprocess.Popen[bytes] | None = None
        self.client = Client(str(self.run_dir / "control.sock"), timeout=60.0)
        self.processes: list[dict[str, Any]] = []
        self.more: dict[str, Any] = {}
        """Further settings of the supervisor itself."""

    def path(self, name: str) -> Path:
        """A path in the rig's directory."""
        return self.directory / name

    def configure(self, *processes: dict[str, Any]) -> None:
        """Write the configuration file; each process logs to NAME.log and NAME.err."""
        self.processes = [
            {
                "stdout_logfile": str(self.path(f"{item['name']}.log")),
                "stderr_logfile": str(self.path(f"{item['name']}.err")),
                **item,
            }
            for item in processes
        ]
        supervisor = {
            "run_dir": str(self.run_dir),
            "state_dir": str(self.path("state")),
            "log_file": str(self.path("supervisor.log")),
            "pids_file": str(self.path("pids.env")),
            **self.more,
        }
        text = {"version": 1, "supervisor": supervisor, "processes": self.processes}
        self.config_path.write_text(json.dumps(text))

    def start(
        self, *processes: dict[str, Any], words: Sequence[str] = (), by: Sequence[str] = ()
    ) -> None:
        """Start guardian and supervisor, by a command, and wait until the socket answers."""
        if processes:
            self.configure(*processes)
        command = [*by, sys.executable, "-m", "process_supervisor.init"]
        with self.output.open("ab") as output:
            self.guardian = subprocess.Popen(
                [*command, "--config", str(self.config_path), *words],
                env={**os.environ, "PYTHONPATH": str(SOURCES)},
                stdout=output,
                stderr=output,
            )
        self.answering()

    def answering(self) -> dict[str, Any]:
        """Wait until a supervisor answers and return what it says of itself."""
        info: dict[str, Any] = until(self._info, "the supervisor answers")
        return info

    def _info(self) -> dict[str, Any] | None:
        try:
            return self.client.info()
        except ControlError:
            return None

    def kill_supervisor(self) -> None:
        """SIGKILL the supervisor and wait for the next one."""
        pid = self.answering()["pid"]
        os.kill(pid, signal.SIGKILL)
        until(lambda: (self._info() or {"pid": pid})["pid"] != pid, "a new supervisor")
        self.answering()

    def status(self, name: str) -> dict[str, Any]:
        """A process's status."""
        found: dict[str, Any] = self.client.status(name)
        return found

    def in_state(self, name: str, state: str, timeout: float = 60.0) -> dict[str, Any]:
        """Wait until a process is in a state and return its status."""

        def look() -> dict[str, Any] | None:
            found = self.status(name)
            return found if found["state"] == state else None

        found: dict[str, Any] = until(look, f"{name} is {state}", timeout)
        return found

    def pid(self, name: str) -> int:
        """The pid of a running process."""
        return int(self.in_state(name, "RUNNING")["pid"])

    def new_pid(self, name: str, old: int) -> int:
        """Wait until another process runs in the place of an old one."""

        def look() -> int | None:
            found = self.status(name)
            return found["pid"] if found["state"] == "RUNNING" and found["pid"] != old else None

        return int(until(look, f"a new {name}"))

    def states(self, name: str) -> list[str]:
        """The states that a process has gone through."""
        events = self.client.events(limit=1000)
        return [item["to"] for item in events if item["event"] == "state" and
                item["process"] == name]  # fmt: skip

    def family(self, name: str) -> list[int]:
        """The living processes that carry a service's marker."""
        key = f"{procfs.generation()}:{os.path.realpath(self.run_dir)}"
        mark = procfs.family(key, name)
        return [pid for pid in procfs.all_pids() if procfs.marker(pid) == mark and alive(pid)]

    def shut_down(self) -> int:
        """SIGTERM the guardian and return its exit status."""
        assert self.guardian is not None
        self.guardian.send_signal(signal.SIGTERM)
        return self.guardian.wait(60)

    def destroy(self) -> None:
        """End whatever is left, by force, and say what the supervisor logged."""
        until(lambda: not self._kill(self.supervisors()), "no supervisor is left")
        if self.guardian is not None:
            self.guardian.wait()
        names = [item["name"] for item in self.processes]
        until(
            lambda: not self._kill([pid for name in names for pid in self.family(name)]),
            "no service is left",
        )
        for name in ("supervisor.log", "guardian.out"):
            if self.path(name).exists():
                print(f"--- {name}\n{self.path(name).read_text(errors='replace')[-6000:]}")
        shutil.rmtree(self.directory)

    def supervisors(self) -> list[int]:
        """Guardian and supervisor, whoever has these parts now: run_dir is an argument of both."""
        found = []
        for pid in procfs.all_pids():
            with contextlib.suppress(OSError):
                words = procfs.read(f"/proc/{pid}/cmdline")
                ours = (
                    str(self.run_dir).encode() in words or str(self.config_path).encode() in words
                )
                if ours and b"process_supervisor" in words and alive(pid):
                    found.append(pid)
        return found

    @staticmethod
    def _kill(pids: list[int]) -> list[int]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pids


@contextlib.contextmanager
def new_rig() -> Iterator[Rig]:
    """Have a rig in a short path: a Unix socket's may have 107 bytes at most."""
    made = Rig(Path(tempfile.mkdtemp(prefix="ps-")))
    try:
        yield made
    finally:
        made.destroy()


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A rig for one test."""
    with new_rig() as made:
        yield made


@pytest.fixture
def rigs() -> Callable[[], contextlib.AbstractContextManager[Rig]]:
    """As many rigs as a test wants."""
    return new_rig


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Any]:
    """Bounded polling."""
    return until
