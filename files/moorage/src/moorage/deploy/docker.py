"""The Docker command line, as far as a rollout needs it.

The command line and not the SDK: it is on every host that runs the engine, so the package needs
nothing beside Python itself.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STACK_LABEL = "moorage.stack"
SERVICE_LABEL = "moorage.service"
# Compose's own: what it compares to tell whether a container is still as described.
_HASH_LABEL = "com.docker.compose.config-hash"


class DockerError(Exception):
    """A docker command failed; the message holds the command and what it said."""


def run(argv: Sequence[str], *, timeout_seconds: float = 60.0) -> str:
    """Run ``docker ARGV`` and return its standard output.

    Raises DockerError when it fails, is missing or takes longer than ``timeout_seconds``.
    """
    command = ["docker", *argv]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError:
        raise DockerError(
            "docker is not installed on this host: run playbooks/provision.yml"
        ) from None
    except subprocess.TimeoutExpired:
        raise DockerError(
            f"`{' '.join(command)}` did not end within {timeout_seconds:g} s"
        ) from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise DockerError(f"`{' '.join(command)}` failed: " + "\n".join(said[-15:]))
    return done.stdout


@dataclass(frozen=True)
class Container:
    """What the engine says of one container."""

    id: str
    name: str
    service: str
    image: str
    state: str
    health: str
    exit_code: int
    pid: int
    started_at: str
    restarts: int
    policy: str
    config_hash: str = ""

    @property
    def held(self) -> bool:
        """Stopped by somebody: what else ends under such a policy, the engine starts again."""
        return self.state == "exited" and self.policy in ("always", "unless-stopped")

    @property
    def settled(self) -> bool:
        """Running and, where it has a health check, healthy."""
        return self.state == "running" and self.health in ("none", "healthy")


def containers_of(stack: str) -> list[Container]:
    """Return the containers that carry the stack's label, running or not."""
    ids = run(["ps", "-aq", "--filter", f"label={STACK_LABEL}={stack}"]).split()
    if not ids:
        return []
    return sorted((_container(c) for c in json.loads(run(["inspect", *ids]))), key=lambda c: c.name)


def _container(raw: Mapping[str, Any]) -> Container:
    state = raw["State"]
    labels = raw["Config"].get("Labels") or {}
    return Container(
        id=raw["Id"],
        name=raw["Name"].lstrip("/"),
        service=labels.get(SERVICE_LABEL, ""),
        image=raw["Config"]["Image"],
        state=state["Status"],
        health=(state.get("Health") or {}).get("Status", "none"),
        exit_code=int(state.get("ExitCode", 0)),
        pid=int(state.get("Pid", 0)),
        started_at=state.get("StartedAt", ""),
        restarts=int(raw.get("RestartCount", 0)),
        policy=(raw["HostConfig"].get("RestartPolicy") or {}).get("Name", ""),
        config_hash=labels.get(_HASH_LABEL, ""),
    )


def missing_images(refs: Sequence[str]) -> list[str]:
    """Return those of ``refs`` that the engine does not hold."""
    present = set(run(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]).split())
    return [ref for ref in refs if (ref if ":" in ref else f"{ref}:latest") not in present]


def prune_images(stack: str, keep: Collection[str]) -> list[str]:
    """Remove the images that were built for ``stack``, but for those in ``keep``.

    Returns what was removed. An image that a container still uses stays: the engine refuses.
    """
    argv = ["image", "ls", "--filter", f"label={STACK_LABEL}={stack}"]
    built = run([*argv, "--format", "{{.Repository}}:{{.Tag}}"]).split()
    removed = []
    for ref in sorted(set(built) - set(keep)):
        try:
            run(["image", "rm", ref])
        except DockerError:
            continue
        removed.append(ref)
    return removed


def logs(container: str, lines: int) -> list[str]:
    """Return the last ``lines`` lines of a container's output, both streams."""
    done = subprocess.run(
        ["docker", "logs", "--tail", str(lines), container],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=30,
        check=False,
    )
    return done.stdout.splitlines()


class Compose:
    """``docker compose`` on one project and one file."""

    def __init__(self, project: str, file: Path) -> None:
        self._argv = ["compose", "--project-name", project, "--file", str(file)]

    def dependencies(self) -> dict[str, set[str]]:
        """Return every service of every profile and those that it depends on."""
        shown = run([*self._argv, "--profile", "*", "config", "--format", "json"])
        services = json.loads(shown)["services"]
        return {name: set(service.get("depends_on") or {}) for name, service in services.items()}

    def hashes(self) -> dict[str, str]:
        """Return what the label of each service's container says when it is as described."""
        shown = run([*self._argv, "--profile", "*", "config", "--hash", "*"])
        return dict(line.split() for line in shown.splitlines())

    # Never --no-deps below: it takes dependencies out of what is hashed, so that the next call
    # without it would find every such container changed.

    def up(
        self, services: Sequence[str] = (), *, timeout_seconds: float, orphans: bool = False
    ) -> None:
        """Start what is not running and replace what changed; returns without waiting on health.

        What the named services depend on is brought up too; those of a profile are started only
        when they are named. With ``orphans``, containers that nothing describes are removed.
        """
        argv = [*self._argv, "up", "--detach", "--no-build", "--pull", "never"]
        if orphans:
            argv.append("--remove-orphans")
        run([*argv, *services], timeout_seconds=timeout_seconds)

    def create(self, service: str, *, timeout_seconds: float) -> None:
        """Make the container of a service without starting it."""
        argv = [*self._argv, "--profile", "*", "up", "--no-start", "--no-build"]
        run([*argv, "--pull", "never", service], timeout_seconds=timeout_seconds)

    def down(self, *, timeout_seconds: float) -> None:
        """Remove the project's containers and networks."""
        argv = [*self._argv, "--profile", "*", "down", "--remove-orphans"]
        run(argv, timeout_seconds=timeout_seconds)
