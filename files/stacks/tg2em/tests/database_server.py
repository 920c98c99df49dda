"""A real MariaDB for the tests: the one of TG2EM_TEST_DATABASE_URL, else a container of our own."""

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.exc import OperationalError
from tg2em_core.db import make_engine, ping
from tg2em_core.environment import DatabaseConfig

IMAGE, BASE = "moorage/mariadb:test", "moorage/base:trixie"
VARIABLE = "TG2EM_TEST_DATABASE_URL"
CONTEXT = Path(__file__).resolve().parents[3] / "images" / "mariadb"
SECONDS = 90


def _docker(*arguments: str, timeout: float = 60, given: str = "") -> str:
    argv = ["docker", *arguments]
    done = subprocess.run(
        argv, input=given, capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def _ensure_image() -> None:
    if not _docker("images", "--quiet", IMAGE):
        # The base has been made by then (scripts/bootstrap); only packages are fetched.
        text = (CONTEXT / "Dockerfile").read_text()
        if _docker("images", "--quiet", BASE):
            text = text.replace("FROM debian:trixie-slim", f"FROM {BASE}")
        argv = ("build", "--quiet", "--tag", IMAGE, "--file", "-", str(CONTEXT))
        _docker(*argv, timeout=600, given=text)


def _given(url: str) -> DatabaseConfig:
    parts = urlsplit(url)
    return DatabaseConfig(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        name=parts.path.lstrip("/"),
        user=parts.username or "root",
        password=parts.password or "",
    )


@contextmanager
def database() -> Iterator[DatabaseConfig]:
    """Give a database that answers; a container of ours is removed afterwards."""
    url = os.environ.get(VARIABLE)
    if url:
        yield _given(url)
        return
    with container() as (config, _name):
        yield config


@contextmanager
def container() -> Iterator[tuple[DatabaseConfig, str]]:
    """Give a database in a container of ours, and the container's name."""
    _ensure_image()
    name = f"tg2em-test-{os.getpid()}-{secrets.token_hex(3)}"
    password = secrets.token_hex(16)
    settings = {
        "MARIADB_DATABASE": "tg2em",
        "MARIADB_USER": "tg2em",
        "MARIADB_PASSWORD": password,
        "MARIADB_ROOT_PASSWORD": secrets.token_hex(16),
    }
    variables = [word for k, v in settings.items() for word in ("--env", f"{k}={v}")]
    _docker(
        "run", "--detach", "--name", name, "--publish", "127.0.0.1::3306",
        # In memory: the tests' data is not worth a disk's wait.
        "--tmpfs", "/var/lib/mysql:uid=10002,gid=10002,size=512m", *variables, IMAGE,
    )  # fmt: skip
    try:
        port = int(_docker("port", name, "3306/tcp").splitlines()[0].rsplit(":", 1)[1])
        config = DatabaseConfig("127.0.0.1", port, "tg2em", "tg2em", password)
        _wait(config, name)
        yield config, name
    finally:
        _docker("rm", "--force", "--volumes", name)


def _wait(config: DatabaseConfig, name: str) -> None:
    engine = make_engine(config, pool_size=1)
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            ping(engine)
            return
        except OperationalError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"no database: {_docker('logs', name)}") from error
        time.sleep(0.05)
