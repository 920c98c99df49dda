"""nginx's process, in a container or as a unit: tests, reloads, starts, and what it said."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from moorage.common.engine import DockerError, Engine
from moorage.edge.errors import EdgeError
from moorage.edge.model import Settings

UNIT = "moorage-edge.service"
LABEL = "moorage.edge"
_TIMEOUT_SECONDS = 60.0
_engine = Engine()


class Nginx(Protocol):
    """What a change of configuration asks of either kind."""

    def running(self) -> bool:
        """Tell whether the master runs."""

    def start(self) -> None:
        """Start it; EdgeError with its words when it does not."""

    def test(self, configuration: Path) -> None:
        """Let nginx read a configuration; EdgeError with its words when it refuses."""

    def reload(self) -> None:
        """Ask for new workers; the old ones finish what they have."""

    def reopen(self) -> None:
        """Have the log files opened anew."""

    def said(self) -> str:
        """Return the last lines that it wrote before it had a log file."""


def nginx_of(settings: Settings) -> Nginx:
    """Return the process of the host's kind."""
    if settings.kind == "container":
        return Container(settings.container)
    if settings.kind == "native":
        return Native()
    raise EdgeError("edge_kind is none on this host: it has no edge to speak to")


def run(
    argv: Sequence[str], *, timeout_seconds: float = _TIMEOUT_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run a command; EdgeError when it is missing or does not end, whatever its status."""
    try:
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError:
        raise EdgeError(
            f"{argv[0]} is not installed on this host: run playbooks/provision.yml"
        ) from None
    except subprocess.TimeoutExpired:
        words = " ".join(argv)
        raise EdgeError(f"`{words}` did not end within {timeout_seconds:g} s") from None


def engine_absent() -> bool:
    """Tell whether this host has no engine, and so no container."""
    return _engine.absent()


def container_facts(name: str) -> dict[str, Any] | None:
    """Return all about a container, None when there is none; EdgeError when nobody can tell."""
    return _asked(lambda: _engine.container(name))


def image_facts(ref: str) -> dict[str, Any] | None:
    """Return all about an image, None when there is none; EdgeError when nobody can tell."""
    return _asked(lambda: _engine.image(ref))


def _asked(question: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
    try:
        return question()
    except DockerError as trouble:
        raise EdgeError(str(trouble)) from None


def _checked(argv: Sequence[str], what: str) -> str:
    done = run(argv)
    if done.returncode != 0:
        raise EdgeError(f"{what}:\n{tail(done.stdout)}")
    return done.stdout


def tail(text: str, lines: int = 15) -> str:
    """Return the last lines of what a program said."""
    return "\n".join(text.strip().splitlines()[-lines:])


def _test_argv(configuration: Path) -> list[str]:
    return ["nginx", "-t", "-q", "-e", "stderr", "-c", str(configuration)]


_REFUSED = "nginx refuses the new configuration, the old one stays"


class Container:
    """nginx as the first process of a container."""

    def __init__(self, name: str) -> None:
        self._name = name

    def running(self) -> bool:
        """Tell whether the container runs; one that crashes and is started again does not."""
        try:
            found = container_facts(self._name)
        except EdgeError:
            return False
        return bool(found and found["State"]["Running"] and not found["State"]["Restarting"])

    def start(self) -> None:
        """Start the container, also one that the engine waits to start again."""
        _checked(["docker", "restart", self._name], f"the container {self._name} does not start")

    def test(self, configuration: Path) -> None:
        """Let the nginx in the container read a configuration, or one beside it that is like it."""
        if self.running():
            _checked(["docker", "exec", self._name, *_test_argv(configuration)], _REFUSED)
            return
        image = str((container_facts(self._name) or {}).get("Image", ""))
        argv = ["docker", "run", "--rm", "--network", "host", "--volumes-from", self._name]
        argv += ["--read-only", "--entrypoint", "nginx", image, *_test_argv(configuration)[1:]]
        _checked(argv, _REFUSED)

    def reload(self) -> None:
        """Send the master SIGHUP."""
        self._signal("HUP")

    def reopen(self) -> None:
        """Send the master SIGUSR1."""
        self._signal("USR1")

    def said(self) -> str:
        """Return the end of the container's output."""
        return tail(run(["docker", "logs", "--tail", "15", self._name]).stdout)

    def _signal(self, name: str) -> None:
        # Not `docker kill`: a container that was sent any signal in that way counts as stopped by
        # somebody, and the engine does not start it again after the next boot.
        argv = ["docker", "exec", self._name, "sh", "-c", f"kill -{name} 1"]
        _checked(argv, "nginx takes no signal")


class Native:
    """Debian's nginx under a unit of our own."""

    def running(self) -> bool:
        """Tell whether the unit is active."""
        return run(["systemctl", "is-active", "--quiet", UNIT]).returncode == 0

    def start(self) -> None:
        """Start the unit."""
        done = run(["systemctl", "start", UNIT])
        if done.returncode != 0:
            raise EdgeError(f"{UNIT} does not start:\n{self.said()}")

    def test(self, configuration: Path) -> None:
        """Let the host's nginx read a configuration."""
        program, *options = _test_argv(configuration)
        _checked([f"/usr/sbin/{program}", *options], _REFUSED)

    def reload(self) -> None:
        """Send the master SIGHUP."""
        self._signal("HUP")

    def reopen(self) -> None:
        """Send the master SIGUSR1."""
        self._signal("USR1")

    def said(self) -> str:
        """Return the end of the unit's journal."""
        argv = ["journalctl", "--unit", UNIT, "--lines", "15", "--no-pager", "--output", "cat"]
        return tail(run(argv).stdout)

    def _signal(self, name: str) -> None:
        argv = ["systemctl", "kill", "--kill-whom=main", f"--signal={name}", UNIT]
        _checked(argv, "nginx takes no signal")
