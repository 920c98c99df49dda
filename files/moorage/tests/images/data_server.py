"""What the tests of data images share: the engine, an image, a container on a volume of its own."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

IMAGES = Path(__file__).resolve().parents[3] / "images"

OBSERVE = """
look() { cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; }
{ while [ ! -e /tmp/stop ]; do look; done; look; } | sort -u > /tmp/seen
touch /tmp/written
exec sleep 60
"""


def docker(
    *argv: str, check: bool = True, stdin: str | bytes = "", text: bool = True
) -> subprocess.CompletedProcess[Any]:
    """Run the engine's client; a container gets a minute."""
    done: subprocess.CompletedProcess[Any] = subprocess.run(
        ["docker", *argv], input=stdin, capture_output=True, text=text, check=False, timeout=120
    )
    assert not check or done.returncode == 0, f"docker {argv}: {done.stderr!r}{done.stdout!r}"
    return done


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 120) -> float:
    """Return how long it took until ``condition`` held."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, what
        time.sleep(0.05)
    return time.monotonic() - started


def after(seconds: float) -> Callable[[], bool]:
    """Return a condition that holds from then on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def build_image(name: str) -> str:
    """Build a data image as on a host without BuildKit's named contexts and return its tag."""
    dockerfile = (IMAGES / name / "Dockerfile").read_text()
    base = docker("image", "inspect", "moorage/base:trixie", check=False)
    if base.returncode == 0:
        dockerfile = dockerfile.replace("FROM debian:trixie-slim", "FROM moorage/base:trixie")
    build = ["docker", "build", "--quiet", "--tag", f"moorage/{name}:test", "--file", "-"]
    done = subprocess.run(
        [*build, str(IMAGES / name)], input=dockerfile, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return f"moorage/{name}:test"


def write_secrets(directory: Path, values: Mapping[str, str]) -> Path:
    """Write files that a container's user can read, as Compose mounts secrets."""
    directory.chmod(0o755)
    for name, value in values.items():
        (directory / name).write_text(f"{value}\n" if value else "")
        (directory / name).chmod(0o644)
    return directory


class Container:
    """One container on one volume; a subclass says of which image's kind."""

    user: str
    data: str
    run: str
    healthy: tuple[str, ...]

    def __init__(self, image: str, secrets: Path) -> None:
        self.image = image
        self.secrets = secrets
        self.name = f"pytest-{image.split('/')[-1].split(':')[0]}-{uuid.uuid4().hex[:8]}"
        self.volume = self.name
        docker("volume", "create", self.volume)

    def start(self, *options: str, command: tuple[str, ...] = (), hardened: bool = True) -> None:
        argv = ["run", "--detach", "--name", self.name, "--volume", f"{self.volume}:{self.data}"]
        argv += ["--volume", f"{self.secrets}:/run/secrets:ro"]
        if hardened:
            argv += ["--user", self.user, "--read-only", "--cap-drop", "ALL"]
            argv += ["--security-opt", "no-new-privileges", "--tmpfs", self.run, "--tmpfs", "/tmp"]
        docker(*argv, *options, self.image, *command)

    def restart(self) -> None:
        docker("start", self.name)

    def replace(self) -> None:
        """Remove the container; the volume stays."""
        docker("rm", "--force", self.name)

    def exec(
        self, *argv: str, user: str = "", check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        asked = ("exec", "-i", "--user", user or self.user, self.name)
        return docker(*asked, *argv, check=check, stdin=stdin)

    def exec_bytes(
        self, *argv: str, stdin: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program whose input and output are no text."""
        asked = ("exec", "-i", "--user", self.user, self.name)
        return docker(*asked, *argv, check=check, stdin=stdin, text=False)

    def logs(self) -> str:
        done = docker("logs", self.name)
        return str(done.stdout + done.stderr)

    def is_healthy(self) -> bool:
        return self.exec(*self.healthy, check=False).returncode == 0

    def wait_healthy(self, seconds: float = 60) -> None:
        try:
            wait_until(self.is_healthy, "", seconds)
        except AssertionError:
            pytest.fail(f"not healthy after {seconds} s; its log:\n{self.logs()}")

    def wait_exit(self) -> int:
        return int(docker("wait", self.name).stdout)

    def address(self) -> str:
        return self.exec("hostname", "-i").stdout.strip()

    def files(self, script: str) -> str:
        """Run a shell script on the volume, as root, beside whatever state the server is in."""
        argv = ("run", "--rm", "--user", "0", "--volume", f"{self.volume}:{self.data}")
        entry = ("--workdir", self.data, "--entrypoint", "sh")
        return str(docker(*argv, *entry, self.image, "-euc", script).stdout)

    @contextmanager
    def observed(self) -> Iterator[tuple[tuple[str, ...], Callable[[], str]]]:
        """Give options for `start`, and what tells all arguments and environments seen since then.

        The server joins the observer's PID namespace, so that no process is overlooked.
        """
        observer = f"{self.name}-observer"
        docker(
            *("run", "--detach", "--name", observer, "--user", self.user, "--cap-drop", "ALL"),
            *("--entrypoint", "sh", self.image, "-c", OBSERVE),
        )

        def seen() -> str:
            # One process at least is there to be seen, however slowly the observer goes round.
            docker("exec", "--detach", self.name, "sleep", "60")
            docker("exec", observer, "touch", "/tmp/stop")
            written = ("exec", observer, "test", "-e", "/tmp/written")
            wait_until(lambda: docker(*written, check=False).returncode == 0, "nothing was written")
            return str(docker("exec", observer, "cat", "/tmp/seen").stdout)

        try:
            yield ("--pid", f"container:{observer}"), seen
        finally:
            docker("rm", "--force", "--volumes", observer)

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.name, check=False)
        docker("volume", "rm", "--force", self.volume, check=False)
