"""Real servers and real processes for the tests: PostgreSQL, uWSGI, task workers."""

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from chatbot import health, migrate
from chatbot.config import Config

STACK = Path(__file__).resolve().parents[1]
APP, MOORAGE = STACK / "app", STACK.parents[1] / "moorage" / "src"
IMAGES = STACK.parents[1] / "images"
ADMIN_PASSWORD = "a-password-for-tests-only-0123456789"
SECONDS = 60
T = TypeVar("T")


def eventually(condition: Callable[[], T], what: Callable[[], str], seconds: float = SECONDS) -> T:
    """Return what the condition gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def docker(*arguments: str, stdin: str = "", timeout: float = 120) -> str:
    """Run the engine's client and return what it prints."""
    argv = ["docker", *arguments]
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{argv}: {done.stderr.strip()}"
    return done.stdout.strip()


def _image() -> str:
    tag = "moorage/postgres:test"
    if not docker("images", "--quiet", tag):
        # The base has been made by then (scripts/bootstrap); only packages are fetched.
        text = (IMAGES / "postgres" / "Dockerfile").read_text()
        text = text.replace("FROM debian:trixie-slim", "FROM moorage/base:trixie")
        build = ("build", "--quiet", "--tag", tag, "--file", "-", str(IMAGES / "postgres"))
        docker(*build, stdin=text, timeout=600)
    return tag


@dataclass
class Postgres:
    """PostgreSQL in a container of ours, on a port that stays over a restart."""

    name: str = field(default_factory=lambda: f"chatbot-test-{os.getpid()}-{secrets.token_hex(3)}")
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(16))

    def start(self) -> None:
        """Start it and wait until it answers."""
        docker(
            *("run", "--detach", "--name", self.name),
            *("--publish", f"127.0.0.1:{self.port}:5432"),
            *("--env", "POSTGRES_USER=chatbot", "--env", f"POSTGRES_PASSWORD={self.password}"),
            *("--volume", "/var/lib/postgresql/data", _image()),
            # The tests' data is not worth a disk's wait.
            *("postgres", "-c", "fsync=off"),
        )
        eventually(self.answers, lambda: docker("logs", self.name))

    def stop(self) -> None:
        """Remove it with what it has written."""
        subprocess.run(["docker", "rm", "-f", "-v", self.name], capture_output=True)

    def answers(self) -> bool:
        """Say whether it does."""
        with suppress(psycopg.Error):
            self.connect().close()
            return True
        return False

    def connect(self) -> psycopg.Connection:
        """Return a connection of the tests' own."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="chatbot",
            password=self.password,
            dbname="chatbot",
            connect_timeout=2,
            autocommit=True,
        )

    def empty(self) -> None:
        """Have a database without tables."""
        with self.connect() as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")


def environment(directory: Path, server: Postgres | None, **settings: str) -> dict[str, str]:
    """Return the variables of the stack's processes, and write their secrets."""
    given = {
        "session_key": "a session key of the tests, long enough",
        "admin_password": ADMIN_PASSWORD,
        "database_password": server.password if server else "",
    }
    files = {}
    for name, value in given.items():
        (directory / name).write_text(f"{value}\n")
        files[f"{name.upper()}_FILE"] = str(directory / name)
    where = {"DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": str(server.port)} if server else {}
    return {
        **where,
        "DATA_DIR": str(directory / "data"),
        "RUN_DIR": str(directory / "run"),
        "MIGRATE_TIMEOUT": "60",
        **files,
        **settings,
    }


class Process:
    """A process of the stack and all that it starts, in a group of its own."""

    def __init__(self, directory: Path, environment: dict[str, str], *argv: str) -> None:
        self.log = directory / f"{argv[-1].strip('-')}-{secrets.token_hex(3)}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *argv],
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": f"{APP}:{MOORAGE}",
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "PYTHONUNBUFFERED": "1",
                    **environment,
                },
                cwd=directory,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def text(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End it and all its children as a crash would."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)

    def signal(self, number: int) -> None:
        """Send a signal to the process alone, as an engine does."""
        self._process.send_signal(number)

    def wait(self, seconds: float = SECONDS) -> int:
        """Return its exit status."""
        return self._process.wait(seconds)

    def running(self) -> bool:
        """Say whether it is there."""
        return self._process.poll() is None


def task(directory: Path, environment: dict[str, str], **settings: str) -> Process:
    """Start a worker as compose.yml does, and wait until it takes jobs."""
    heartbeat = directory / f"task-{secrets.token_hex(3)}.heartbeat"
    made = Process(
        directory,
        {**environment, "HEARTBEAT_FILE": str(heartbeat), **settings},
        *("-m", "chatbot.start", "task"),
    )
    eventually(lambda: heartbeat.exists() or not made.running(), made.text)
    assert made.running(), made.text()
    return made


class Server(Process):
    """uWSGI, as compose.yml starts it, on SQLite."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.port = free_port()
        given = environment(directory, None, LISTEN=f"127.0.0.1:{self.port}", **settings)
        database = migrate.wait(Config.from_environment(given), 60)
        migrate.upgrade(database)
        migrate.ensure_admin(database, "admin", ADMIN_PASSWORD)
        database.close()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = given
        super().__init__(directory, given, "-m", "chatbot.start", "server")

    def wait_healthy(self) -> None:
        """Wait until it answers."""
        eventually(lambda: self.ask("/health/live")[0] == 200 or not self.running(), self.text)
        assert self.running(), self.text()

    def ask(self, path: str, token: str = "", body: object = None, accept: str = "*/*") -> Any:
        """Return status and text; 0 while nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Authorization": f"Bearer {token}", "Accept": accept}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            data = None if body is None else json.dumps(body)
            connection.request("GET" if body is None else "POST", path, data, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def workers(self, directory: Path) -> set[int]:
        """Return the processes of its workers."""
        found = health.server_stats(str(directory / "run" / "server" / "stats.sock"))
        return {worker["pid"] for worker in found["workers"] if worker["apps"]}
