"""Real servers and real processes for the tests: PostgreSQL, Redis, a mail server, Celery."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import redis
from aiosmtpd.controller import Controller

STACK = Path(__file__).resolve().parents[1]
APP, MOORAGE = STACK / "app", STACK.parents[1] / "moorage" / "src"
IMAGES = STACK.parents[1] / "images"
ADMIN_PASSWORD = "a-password-for-tests-only-0123456789"
# Small, so that a test can fill it.
MAXMEMORY = "24mb"
SECONDS = 120
T = TypeVar("T")


def eventually(condition: Callable[[], T], what: str, seconds: float = SECONDS) -> T:
    """Return what the condition gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < deadline, what
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


def _image(name: str) -> str:
    tag = f"moorage/{name}:test"
    if not docker("images", "--quiet", tag):
        # The base has been made by then (scripts/bootstrap); only packages are fetched.
        text = (IMAGES / name / "Dockerfile").read_text()
        text = text.replace("FROM debian:trixie-slim", "FROM moorage/base:trixie")
        build = ("build", "--quiet", "--tag", tag, "--file", "-", str(IMAGES / name))
        docker(*build, stdin=text, timeout=600)
    return tag


@dataclass
class Servers:
    """PostgreSQL and Redis in containers of ours, on ports that stay over a restart."""

    name: str = field(default_factory=lambda: f"taifish-test-{os.getpid()}-{secrets.token_hex(3)}")
    postgres_port: int = field(default_factory=free_port)
    redis_port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(16))

    def start(self) -> None:
        """Start both and wait until they answer."""
        docker(
            *("run", "--detach", "--name", f"{self.name}-postgres"),
            *("--publish", f"127.0.0.1:{self.postgres_port}:5432"),
            *("--env", "POSTGRES_USER=taifish", "--env", f"POSTGRES_PASSWORD={self.password}"),
            *("--volume", "/var/lib/postgresql/data", _image("postgres")),
            # The tests' data is not worth a disk's wait.
            *("postgres", "-c", "fsync=off", "-c", "max_connections=100"),
        )
        docker(
            *("run", "--detach", "--name", f"{self.name}-redis"),
            *("--publish", f"127.0.0.1:{self.redis_port}:6379"),
            *("--env", f"REDIS_PASSWORD={self.password}", "--volume", "/data", _image("redis")),
            *("redis-server", "--maxmemory", MAXMEMORY),
        )
        eventually(self.answer, "no servers")

    def stop(self) -> None:
        """Remove them with what they have written."""
        for kind in ("postgres", "redis"):
            subprocess.run(["docker", "rm", "-f", "-v", f"{self.name}-{kind}"], capture_output=True)

    def container(self, verb: str, kind: str) -> None:
        """`stop`, `start` or `restart` one of them."""
        docker(verb, f"{self.name}-{kind}")

    def redis(self, number: int) -> Any:
        """Return a client of one of Redis' databases."""
        return redis.Redis(
            port=self.redis_port, password=self.password, db=number, decode_responses=True
        )

    def answer(self) -> bool:
        """Say whether both do."""
        try:
            self.redis(0).ping()
            with psycopg.connect(
                host="127.0.0.1",
                port=self.postgres_port,
                user="taifish",
                password=self.password,
                dbname="taifish",
                connect_timeout=2,
            ):
                return True
        except (redis.RedisError, psycopg.Error):
            return False

    def environment(self, directory: Path, **settings: str) -> dict[str, str]:
        """Return the variables of the stack's processes, and write their secrets."""
        given = {
            "database_password": self.password,
            "redis_password": self.password,
            "session_key": "a session key of the tests, long enough",
            "admin_password": ADMIN_PASSWORD,
        }
        files = {}
        for name, value in given.items():
            (directory / name).write_text(f"{value}\n")
            files[f"{name.upper()}_FILE"] = str(directory / name)
        return {
            "DATABASE_PORT": str(self.postgres_port),
            "REDIS_PORT": str(self.redis_port),
            "DATA_DIR": str(directory / "data"),
            "MIGRATE_TIMEOUT": "60",
            **files,
            **settings,
        }


class Process:
    """A process of the stack and all that it starts, in a group of its own."""

    def __init__(self, directory: Path, environment: dict[str, str], *argv: str) -> None:
        self.log = directory / f"{argv[-1].strip('-').replace('/', '_')}-{secrets.token_hex(3)}.log"
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

    def text(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End it and all its children as a crash would."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)

    def terminate(self) -> None:
        """Ask the process, as an engine does, and nobody else of its group."""
        self._process.terminate()

    def wait(self, seconds: float = SECONDS) -> int:
        """Return its exit status."""
        return self._process.wait(seconds)

    def children(self) -> list[int]:
        """Return the processes that it has started."""
        tasks = Path(f"/proc/{self._process.pid}/task")
        return [int(n) for file in tasks.glob("*/children") for n in file.read_text().split()]

    def running(self) -> bool:
        """Say whether it is there."""
        return self._process.poll() is None


class Site(Process):
    """gunicorn, as compose.yml starts it."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        listen = {"LISTEN": self.url.removeprefix("http://")}
        arguments = ("-m", "gunicorn", "--config", "python:taifish.gunicorn", "taifish.wsgi:app")
        super().__init__(directory, {**environment, **listen}, *arguments)

    def ask(self, path: str) -> tuple[int, str]:
        """Return status and body; 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_healthy(self) -> None:
        """Wait until it answers."""
        eventually(lambda: self.ask("/health/live")[0] == 200 or not self.running(), "no site")
        assert self.running(), self.text()


def worker(directory: Path, environment: dict[str, str], **settings: str) -> Process:
    """Start a Celery worker as compose.yml does, and wait until it takes jobs."""
    heartbeat = directory / f"worker-{secrets.token_hex(3)}.heartbeat"
    made = Process(
        directory,
        {**environment, "HEARTBEAT_FILE": str(heartbeat), **settings},
        *("-m", "celery", "--app", "taifish.worker", "worker", "--loglevel", "INFO"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    )
    eventually(lambda: heartbeat.exists() or not made.running(), f"no worker: {made.text()}")
    assert made.running(), made.text()
    return made


def beat(directory: Path, environment: dict[str, str]) -> Process:
    """Start beat as compose.yml does."""
    return Process(
        directory,
        {**environment, "HEARTBEAT_FILE": str(directory / "beat.heartbeat")},
        *("-m", "celery", "--app", "taifish.worker", "beat", "--loglevel", "INFO"),
        *("--scheduler", "taifish.worker:Scheduler", "--pidfile="),
        *("--schedule", str(directory / "schedule")),
    )


class Mailbox:
    """A mail server that keeps what it is given."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._controller.port)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        """Keep a mail."""
        from email import message_from_bytes, policy

        found = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(found, EmailMessage)
        self.mails.append(found)
        return "250 taken"

    @contextmanager
    def open(self) -> Iterator["Mailbox"]:
        """Listen."""
        self._controller.start()
        try:
            yield self
        finally:
            self._controller.stop()
