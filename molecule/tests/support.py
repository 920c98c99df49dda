"""What the tests of all scenarios share: bounded waiting, and a host as a test sees it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

Found = TypeVar("Found")


def wait_until(
    what: str,
    look: Callable[[], Found],
    *,
    seconds: float = 30.0,
    every: float = 0.1,
) -> Found:
    """Return the first thing that is true of ``look()``; fail with what was seen last.

    A look that raises counts as not yet: connections are refused while something starts.
    """
    deadline = time.monotonic() + seconds
    seen: object = None
    while True:
        try:
            found = look()
        except (OSError, AssertionError, ValueError, KeyError) as trouble:
            seen = trouble
        else:
            if found:
                return found
            seen = found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s; last seen: {seen!r}")
        time.sleep(every)


class Machine:
    """A test host, from inside (through testinfra) and from outside (as a visitor reaches it)."""

    def __init__(self, host: Any, name: str) -> None:
        self.host = host
        self.name = name

    def sh(self, command: str, *arguments: str) -> str:
        """Run a shell command on the host and return what it printed; fail when it fails."""
        done = self.host.run(command, *arguments)
        assert done.rc == 0, f"`{done.command}` ended with {done.rc}: {done.stdout}{done.stderr}"
        return str(done.stdout).strip()

    @property
    def address(self) -> str:
        """The address at which other machines reach this one."""
        shown = outer("inspect", "--format", "{{json .NetworkSettings.Networks}}", self.name)
        networks = json.loads(shown)
        return str(next(iter(networks.values()))["IPAddress"])

    def status(self, stack: str) -> dict[str, dict[str, Any]]:
        """Return what ``moorage status`` says, by service."""
        (entry,) = json.loads(self.sh(f"moorage status --json {stack}"))
        return {service["service"]: service for service in entry["services"]}

    def release(self, stack: str) -> str:
        """Return the id of the running release."""
        return self.sh(f"readlink /opt/{stack}/current").rpartition("/")[2]

    def container_ids(self, stack: str) -> dict[str, str]:
        """Return the ids of the stack's containers, by name."""
        shown = self.sh(
            f"docker ps -a --no-trunc --filter label=moorage.stack={stack} "
            "--format '{{.Names}} {{.ID}}'"
        )
        return dict(line.split() for line in shown.splitlines())

    def restart(self) -> None:
        """Restart the machine and wait until its init is through with booting."""
        outer("restart", "--time", "60", self.name)
        wait_until("the host has booted", self._booted, seconds=90, every=0.5)

    def _booted(self) -> bool:
        shown = subprocess.run(
            ["docker", "exec", self.name, "systemctl", "is-system-running"],
            capture_output=True,
            text=True,
            check=False,
        )
        return shown.stdout.strip() in ("running", "degraded")


def outer(*argv: str) -> str:
    """Run docker on the machine that runs the tests."""
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(argv)}: {done.stderr.strip()}"
    return done.stdout.strip()
