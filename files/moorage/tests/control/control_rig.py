"""A real supervisor with a few small services, for what speaks the control API."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from moorage.control.process import ProcessBackend
from process_supervisor.control.client import Client, ControlError

SOURCES = Path(__file__).resolve().parents[2] / "src"

SERVICES: dict[str, dict[str, Any]] = {
    "steady": {"command": ["sleep", "600"], "ports": [5000]},
    "broken": {
        "command": ["sh", "-c", "echo the disk is full >&2; exit 3"],
        "restart_limit": 1,
        "restart_delay_max": 0.05,
    },
    "once": {"command": ["true"], "autorestart": "never"},
}


def eventually(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Return the condition's value once it is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return value


class ControlRig:
    """One supervisor below a directory; `say` makes the service `talker` write a line."""

    def __init__(self, directory: Path, more: dict[str, dict[str, Any]] | None = None) -> None:
        """Lay out the directory; `start` starts it, with more services than the usual ones."""
        self.directory = directory
        self._more = more or {}
        self.socket = str(directory / "run" / "control.sock")
        self._process: subprocess.Popen[bytes] | None = None
        self._said = directory / "said"
        self._said.touch()

    def start(self) -> None:
        """Start it and wait until each service is where it is bound to get."""
        command = f"echo one; echo two; echo problem >&2; exec tail -n0 -f {self._said}"
        services = {**SERVICES, "talker": {"command": ["sh", "-c", command]}, **self._more}
        logs = self.directory / "logs"
        logs.mkdir(exist_ok=True)
        config = self.directory / "supervisor.json"
        paths = {
            "socket": self.socket,
            "run_dir": str(self.directory / "run"),
            "state_dir": str(self.directory / "state"),
            "log_file": str(logs / "supervisor.log"),
            "pids_file": str(self.directory / "pids.env"),
        }
        processes = [
            {
                "name": name,
                "stdout_logfile": str(logs / f"{name}.log"),
                "stderr_logfile": str(logs / f"{name}.err.log"),
                **keys,
            }
            for name, keys in services.items()
        ]
        config.write_text(json.dumps({"version": 1, "supervisor": paths, "processes": processes}))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "process_supervisor.init", "--config", str(config)],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SOURCES)},
            stdout=subprocess.DEVNULL,
            stderr=(self.directory / "init.log").open("wb"),
        )
        wanted = {"steady": "RUNNING", "talker": "RUNNING", "broken": "FATAL", "once": "EXITED"}
        for name, state in wanted.items():
            eventually(partial(self._is, name, state), f"{name} {state}")
        said = logs / "talker.log"
        eventually(lambda: said.exists() and "two" in said.read_text(), "talker has said its words")

    def stop(self) -> None:
        """End the supervisor and everything below it."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    def state(self, name: str) -> str:
        """Return what the supervisor itself says."""
        try:
            return str(Client(self.socket).status(name)["state"])
        except ControlError:
            return ""

    def _is(self, name: str, state: str) -> bool:
        return self.state(name) == state

    def say(self, line: str) -> None:
        """Make `talker` write a line."""
        with self._said.open("a") as said:
            said.write(line + "\n")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlRig]:
    """A supervisor with services that run, fail and end."""
    made = ControlRig(tmp_path_factory.mktemp("c"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def backend(rig: ControlRig) -> ProcessBackend:
    """What the tests are about, on that supervisor."""
    return ProcessBackend(rig.socket)
