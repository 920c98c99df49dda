"""tg2em as it really runs: the supervisor, gunicorn and the scraper, as processes of a test."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tg2em_core.environment import DatabaseConfig

from process_supervisor.client import Client, ControlError

ADMIN, PASSWORD = "admin", "a password for the browser 0123"
PARTS = Path(__file__).resolve().parents[2]
MOORAGE = PARTS.parents[1] / "moorage" / "src"


def eventually(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Return the condition's value once it is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return value


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class RunningSite:
    """A supervisor with three services: the front end, the scraper, and one that cannot start."""

    def __init__(self, directory: Path, database: DatabaseConfig, settings: dict[str, str]) -> None:
        """Lay everything out below `directory`; `settings` are environment variables."""
        self.directory = directory
        self.port = free_port()
        self.socket = str(directory / "run" / "control.sock")
        self._process: subprocess.Popen[bytes] | None = None
        (directory / "password").write_text(database.password)
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(
                str(p) for p in (*(PARTS / n for n in ("core", "frontend", "scraper")), MOORAGE)
            ),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DATABASE_HOST": database.host,
            "DATABASE_PORT": str(database.port),
            "DATABASE_NAME": database.name,
            "DATABASE_USER": database.user,
            "DATABASE_PASSWORD_FILE": str(directory / "password"),
            "SESSION_KEY": "a session key of the tests, long enough",
            "MOORAGE_CONTROL_SOCKET": self.socket,
            "LISTEN": f"127.0.0.1:{self.port}",
            "SCRAPER_DATA": str(directory / "scraper"),
            **settings,
        }

    @property
    def url(self) -> str:
        """Where the front end answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def control(self) -> Client:
        """The supervisor's own client."""
        return Client(self.socket)

    def start(self) -> None:
        """Start it all and wait until the front end and the scraper run."""
        for name in ("run", "state", "logs", "scraper"):
            (self.directory / name).mkdir(exist_ok=True)
        config = self.directory / "supervisor.json"
        config.write_text(json.dumps(self._config()))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "process_supervisor.init", "--config", str(config)],
            env=self._environment,
            stdout=(self.directory / "init.log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        eventually(self._healthy, f"no front end: {self.log('frontend.err')}")
        eventually(lambda: self.state("scraper") == "RUNNING", "no scraper")

    def stop(self) -> None:
        """Stop the supervisor, and so everything below it."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    def state(self, name: str) -> str:
        """Return what the supervisor itself says of a service."""
        try:
            return str(self.control.status(name)["state"])
        except ControlError:
            return ""

    def log(self, name: str) -> str:
        """Return a log file's end."""
        path = self.directory / "logs" / f"{name}.log"
        return path.read_text()[-2000:] if path.exists() else ""

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _config(self) -> dict[str, Any]:
        gunicorn = ["-m", "gunicorn", "--config", "python:tg2em_frontend.gunicorn"]
        commands = {
            "frontend": [sys.executable, *gunicorn, "tg2em_frontend.wsgi:app"],
            "scraper": [sys.executable, "-m", "tg2em_scraper"],
            "broken": ["sh", "-c", "echo the configuration file is missing >&2; exit 3"],
        }
        limits = {"broken": {"restart_limit": 1, "restart_delay_max": 0.1}}
        ports = {"frontend": [self.port]}
        logs = self.directory / "logs"
        return {
            "version": 1,
            "supervisor": {
                "socket": self.socket,
                "run_dir": str(self.directory / "run"),
                "state_dir": str(self.directory / "state"),
                "log_file": str(logs / "supervisor.log"),
                "pids_file": str(self.directory / "pids.env"),
            },
            "processes": [
                {
                    "name": name,
                    "command": command,
                    "working_dir": str(self.directory),
                    "environment": self._environment,
                    "stdout_logfile": str(logs / f"{name}.log"),
                    "stderr_logfile": str(logs / f"{name}.err.log"),
                    "ports": ports.get(name, []),
                    **limits.get(name, {}),
                }
                for name, command in commands.items()
            ],
        }
