"""What the tests of all scenarios share: bounded waiting, and a host as a test sees it."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

Found = TypeVar("Found")
Status = dict[str, dict[str, Any]]
_INSTANCES = Path(__file__).with_name("instances.py")


def wait_until(
    what: str,
    look: Callable[[], Found | Literal[False] | None],
    *,
    seconds: float = 30.0,
    every: float = 0.1,
) -> Found:
    """Return the first thing that is true of ``look()``; fail with what was seen last.

    A look that raises counts as not yet: connections are refused while something starts.
    ``seconds`` are those of a machine that has the time; where others want it too, they are more.
    """
    began = time.monotonic()
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
        longest = seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        if time.monotonic() > began + longest:
            raise AssertionError(f"{what}: not within {longest:.0f} s; last seen: {seen!r}")
        time.sleep(every)


def is_up(service: dict[str, Any]) -> bool:
    """Tell whether a service runs and is healthy, or did all that it had to do."""
    if service["state"] == "EXITED":
        return bool(service["exit"]["code"] == 0)
    return service["state"] == "RUNNING" and service["health"] in ("none", "healthy")


def wait_until_up(machine: Machine, stack: str, what: str = "every service is up") -> None:
    """Wait until every service of a stack that is wanted is up; say of the others how they are."""

    def up() -> bool:
        services = machine.status(stack).values()
        missing = [
            f"{s['service']} {s['state']} {s['health']}, {s['restarts']} restarts, {s['reason']}"
            for s in services
            if s["wanted"] == "up" and not is_up(s)
        ]
        if missing or not services:
            raise AssertionError(f"not up: {'; '.join(missing)}")
        return True

    wait_until(f"{stack}: {what}", up, seconds=90, every=0.2)


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

    def python(self, script: Path, *arguments: str, container: str | None = None) -> str:
        """Run one of our scripts on the host, or in a container on it; return what it printed.

        It is read from standard input, so nothing has to be put on the host for it.
        """
        inside = [] if container is None else ["docker", "exec", "-i", container]
        argv = ["docker", "exec", "-i", self.name, *inside, "python3", "-", *arguments]
        done = subprocess.run(
            argv,
            input=script.read_text(encoding="utf-8"),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, f"{script.name} {arguments}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    @property
    def address(self) -> str:
        """The address at which other machines reach this one; a restart may change it."""
        shown = outer("inspect", "--format", "{{json .NetworkSettings.Networks}}", self.name)
        networks = json.loads(shown)
        return str(next(iter(networks.values()))["IPAddress"])

    def serves(self, *ports: int) -> bool:
        """Tell whether all of these ports say to a visitor that they are well."""
        address = self.address
        for port in ports:
            url = f"http://{address}:{port}/health"
            try:
                with urllib.request.urlopen(url, timeout=3) as answer:
                    assert answer.status == 200, f"{url}: {answer.status}"
            except urllib.error.URLError as trouble:
                raise AssertionError(f"{url}: {trouble}") from None
        return True

    def status(self, stack: str) -> Status:
        """Return what ``moorage status`` says, by service."""
        (entry,) = json.loads(self.sh(f"moorage status --json {stack}"))
        return {service["service"]: service for service in entry["services"]}

    def runs(self, stack: str) -> dict[str, str]:
        """Return what tells one run of each service from the next.

        A pid alone would not: in a container that starts anew it is often the same one.
        """
        if self.topology(stack) == "host":
            return self.container_ids(stack)
        starts = dict(
            line.split()
            for line in self.sh(
                f"docker ps -aq --filter label=moorage.stack={stack} | "
                "xargs docker inspect -f '{{.Name}} {{.State.StartedAt}}'"
            ).splitlines()
        )
        release = json.loads(self.sh(f"cat /opt/{stack}/current/release.json"))
        homes = {s["name"]: f"/{s['containers'][0]}" for s in release["services"]}
        return {
            name: f"{service['pid']} in {homes[name]} since {starts[homes[name]]}"
            for name, service in self.status(stack).items()
        }

    def topology(self, stack: str) -> str:
        """Return how the stack runs."""
        release = json.loads(self.sh(f"cat /opt/{stack}/current/release.json"))
        return str(release["topology"])

    def user(self, stack: str) -> int:
        """Return the number of the stack's own user."""
        return int(self.sh(f"stat -c %u /opt/{stack}/logs"))

    def release(self, stack: str) -> str:
        """Return the id of the running release."""
        return self.sh(f"readlink /opt/{stack}/current").rpartition("/")[2]

    def instances(self, stack: str) -> dict[str, dict[str, Any]]:
        """Return what the host knows of the stack's instances, by name (deploy/instance.py)."""
        found: dict[str, dict[str, Any]] = json.loads(self.python(_INSTANCES, stack))
        return found

    def container_ids(self, stack: str) -> dict[str, str]:
        """Return what tells the stack's containers from others of their names, by name.

        Without containers it is the processes, each run of them.
        """
        if self.topology(stack) == "host":
            found = self.instances(stack)
            return {n: f"{i['id']} {i['pid']} {i['started_at']}" for n, i in found.items()}
        shown = self.sh(
            f"docker ps -a --no-trunc --filter label=moorage.stack={stack} "
            "--format '{{.Names}} {{.ID}}'"
        )
        return dict(line.split() for line in shown.splitlines())

    def slot(self, container: str) -> str:
        """Return which of its two slots a container is in."""
        label = '{{index .Config.Labels "moorage.slot"}}'
        return self.sh(f"docker inspect -f '{label}' {container}")

    def container_of(self, stack: str, service: str) -> str:
        """Return the name of the container that a service is, or is a process of."""
        return str(self.described(stack, service)["containers"][0])

    def described(self, stack: str, service: str) -> dict[str, Any]:
        """Return what the running release says of a service."""
        release = json.loads(self.sh(f"cat /opt/{stack}/current/release.json"))
        found: dict[str, Any] = next(s for s in release["services"] if s["name"] == service)
        return found

    def environment_of(self, stack: str, service: str) -> list[str]:
        """Return the environment of a service's running process, as the kernel has it."""
        known, pid = self.described(stack, service), self.status(stack)[service]["pid"]
        # The pid of a process under our supervisor is one of its container.
        inside = f"docker exec {known['containers'][0]} " if known["kind"] == "process" else ""
        return self.sh(f"{inside}cat /proc/{pid}/environ | tr '\\0' '\\n'").splitlines()

    def restart(self, *, cut_power: bool = False) -> None:
        """Restart the machine, in order or not, and wait until it has booted completely."""
        before = self._boot()
        if cut_power:
            outer("kill", "--signal", "KILL", self.name)
            wait_until("the machine is off", lambda: not self._runs())
            outer("start", self.name)
        else:
            outer("restart", self.name)
        wait_until("the host has booted", lambda: self._booted(before), seconds=90, every=0.2)

    def diagnostics(self, stack: str) -> list[tuple[str, str]]:
        """Return what helps to understand a failure: title and text of each part."""
        found = []
        for command in (
            "moorage status",
            "docker ps -a",
            f"tail -n 15 /opt/{stack}/logs/*.log",
            f"for c in $(docker ps -aq --filter label=moorage.stack={stack}); do "
            "docker inspect -f '== {{.Name}}' $c; docker logs --tail 20 $c; done 2>&1",
            "systemctl --failed --no-legend",
            # Cut: Ansible notes the arguments of its modules there, whole files among them.
            "journalctl --no-pager --lines 40 | cut -c1-300",
        ):
            said = self.host.run(command)
            found.append((command, said.stdout + said.stderr))
        return found

    def _runs(self) -> bool:
        return outer("inspect", "--format", "{{.State.Running}}", self.name) == "true"

    def _boot(self) -> str:
        shown = self._inside("systemctl", "show", "--property=UserspaceTimestampMonotonic")
        assert shown.startswith("Userspace"), shown
        return shown

    def _booted(self, before: str) -> bool:
        state = self._inside("systemctl", "is-system-running")
        assert state == "running", state
        return self._boot() != before

    def _inside(self, *argv: str) -> str:
        # Not through testinfra: that wants the host to be there.
        done = subprocess.run(
            ["docker", "exec", self.name, *argv], capture_output=True, text=True, check=False
        )
        return (done.stdout or done.stderr).strip()


def outer(*argv: str) -> str:
    """Run docker on the machine that runs the tests."""
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(argv)}: {done.stderr.strip()}"
    return done.stdout.strip()
