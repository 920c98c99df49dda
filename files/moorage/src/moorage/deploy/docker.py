"""The Docker engine, as far as a rollout needs it: read by its API, changed by its command line.

The command line and not the SDK: it is on every host that runs the engine, so the package needs
nothing beside Python itself.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorage.common.engine import DockerError as DockerError
from moorage.common.engine import Engine
from moorage.release.names import (
    CONFIG_LABEL,
    REPLICA_LABEL,
    SERVICE_LABEL,
    SLOT_LABEL,
    STACK_LABEL,
)

LOOPBACK, ANYWHERE = "127.0.0.1", "0.0.0.0"
_SAID_LINES = 15
_POLL_SECONDS = 0.05
_LOOKING_SECONDS = 10.0
# Compose's progress, and what it, the engine's client or a program only warns or tells of.
_ASIDE = re.compile(
    r"\s*$|time=\S+ level=(warn\w*|info|debug)|(\S+:\d+: )?\w*(?i:warning|deprecated)\b"
    r"|\W*(?i:warn|info|notice|debu?g?)\b|\w+ WARN\b|W: "
    r"|\s*(Container|Network|Volume|Image) \S+\s+[A-Z]\w+\s*$"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ENDING = ("", "no", "on-failure")


_engine = Engine()


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
        said = done.stderr.strip() or done.stdout.strip()
        raise DockerError(f"`{' '.join(command)}` failed: " + reason_first(said.splitlines()))
    return done.stdout


def reason_first(said: Sequence[str]) -> str:
    """Return what a command said last, with its error before warnings and progress.

    Whoever reads one line of a reason reads the reason.
    """
    plain = [_COLOUR.sub("", line) for line in said]
    why = [line for line in plain if not _ASIDE.match(line)][-_SAID_LINES:]
    return "\n".join([*why, *(line for line in plain[-_SAID_LINES:] if line not in why)])


@dataclass(frozen=True, order=True)
class Published:
    """A port of a container, and where the host has it."""

    target: str
    address: str
    port: int


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
    config: str = ""
    slot: str = ""
    replica: int = 1
    published: tuple[Published, ...] = ()
    out_of_memory: bool = False
    finished_at: str = ""
    health_log: tuple[str, ...] = ()
    pids_limit: int = 0
    refused: str = ""
    writes: tuple[str, ...] = ()
    stop_seconds: float = 10.0
    reads: tuple[str, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether it runs, or is about to by itself."""
        return self.state in ("running", "restarting", "paused")

    @property
    def held(self) -> bool:
        """Stopped by somebody: what else ends under such a policy, the engine starts again.

        But not what it could not start: after a boot it tries that once.
        """
        ended = self.state == "exited" and not self.refused
        return ended and self.policy in ("always", "unless-stopped")

    @property
    def done(self) -> bool:
        """Ended well, under a policy that leaves it at that."""
        return self.state == "exited" and self.exit_code == 0 and self.policy in _ENDING

    @property
    def peers(self) -> tuple[str, ...]:
        """Where the edge reaches the container: its ports on the loopback address."""
        return tuple(f"{p.address}:{p.port}" for p in self.published if p.address == LOOPBACK)

    def peer(self, target: int | str) -> str | None:
        """Return where the edge reaches one port of the container, None when it does not."""
        found = (p for p in self.published if p.address == LOOPBACK and p.target == str(target))
        return next((f"{p.address}:{p.port}" for p in found), None)

    @property
    def settled(self) -> bool:
        """Running and, where it has a health check, healthy."""
        return self.state == "running" and self.health in ("none", "healthy")


def containers_of(stack: str) -> list[Container]:
    """Return the containers that were made for services of the stack, running or not."""
    # Images carry the stack's label too, and everybody's containers inherit it from them.
    found = _engine.containers(f"{STACK_LABEL}={stack}", SERVICE_LABEL)
    return sorted((_container(raw) for raw in found), key=lambda c: c.name)


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
        config=labels.get(CONFIG_LABEL, ""),
        slot=labels.get(SLOT_LABEL, ""),
        replica=int(labels.get(REPLICA_LABEL, "1")),
        published=_published(raw["HostConfig"].get("PortBindings") or {}),
        out_of_memory=bool(state.get("OOMKilled")),
        finished_at=state.get("FinishedAt", ""),
        health_log=_said(state.get("Health") or {}),
        pids_limit=int(raw["HostConfig"].get("PidsLimit") or 0),
        refused=str(state.get("Error") or ""),
        stop_seconds=float(raw["Config"].get("StopTimeout") or 10),
        writes=_mounted(raw, writable=True),
        reads=_mounted(raw, writable=False),
    )


def _mounted(raw: Mapping[str, Any], *, writable: bool) -> tuple[str, ...]:
    mounts = [m for m in raw.get("Mounts") or [] if bool(m.get("RW")) is writable]
    return tuple(sorted(str(m.get("Source") or m.get("Name")) for m in mounts))


def _said(health: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the last failed health check said, with its exit status."""
    failed = [entry for entry in health.get("Log") or () if entry.get("ExitCode")]
    if not failed:
        return ()
    text = str(failed[-1].get("Output", "")).strip().splitlines()[:5]
    return tuple(f"health check ({failed[-1]['ExitCode']}): {line}" for line in text or ["-"])


def _published(bindings: Mapping[str, Any]) -> tuple[Published, ...]:
    """Return the ports on the host; the bindings hold for a stopped container too."""
    return tuple(
        sorted(
            Published(target.partition("/")[0], entry.get("HostIp") or ANYWHERE, int(port))
            for target, entries in bindings.items()
            for entry in entries or ()
            if (port := entry.get("HostPort", "")).isdigit()
        )
    )


def missing_images(refs: Sequence[str]) -> list[str]:
    """Return those of ``refs`` that the engine does not hold."""
    present = _engine.images() if refs else {}
    return [ref for ref in refs if _full(ref) not in present]


def prune_images(stack: str, keep: Collection[str]) -> list[str]:
    """Remove the images that were built for ``stack``, but for those in ``keep``.

    Returns what was removed. An image that a container still uses stays: the engine refuses.
    """
    built = _engine.images(f"{STACK_LABEL}={stack}")
    removed = []
    for ref in sorted(set(built) - set(keep)):
        try:
            run(["image", "rm", ref])
        except DockerError:
            continue
        removed.append(ref)
    return removed


def stop(names: Sequence[str], *, timeout_seconds: float) -> None:
    """Stop containers side by side, each with the grace that it was made with."""
    if names:
        run(["stop", *names], timeout_seconds=timeout_seconds)


def remove(names: Sequence[str]) -> None:
    """Remove containers, running or not."""
    if names:
        run(["rm", "--force", *names], timeout_seconds=120)


def rename(name: str, to: str) -> None:
    """Give a container another name."""
    run(["rename", name, to])


def rename_if_it_runs(name: str, to: str) -> None:
    """Give a container another name, or remove it where it ends again and again.

    Those the engine cannot rename as they end, whatever they were a moment before.
    """
    deadline = time.monotonic() + _LOOKING_SECONDS
    while True:
        try:
            return rename(name, to)
        except DockerError:
            found = _found(name)
            if found["State"]["Status"] != "running" or found["RestartCount"]:
                return remove([name])
            # It may have ended without the engine's having noticed.
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL_SECONDS)


def digests(refs: Sequence[str]) -> dict[str, str]:
    """Return the ids (content digests) of the images that this host holds, by reference."""
    held = _engine.images() if refs else {}
    return {ref: held[full] for ref in refs if (full := _full(ref)) in held}


def _full(ref: str) -> str:
    return ref if ":" in ref.rpartition("/")[2] else f"{ref}:latest"


def grace(container: str) -> float:
    """Return how long a container may take to end, in seconds; for ever is a month."""
    given = _found(container)["Config"].get("StopTimeout")
    seconds = 10.0 if given is None else float(given)
    return seconds if seconds >= 0 else 30 * 86_400.0


def ran_out_of_memory(container: str) -> bool:
    """Tell whether the kernel has killed a process of the container for want of memory."""
    return bool(_found(container)["State"]["OOMKilled"])


def _found(name: str) -> dict[str, Any]:
    found = _engine.container(name)
    if found is None:
        raise DockerError(f"cannot look at the container {name}: there is none")
    return found


def logs(container: str, lines: int, times: bool = False) -> list[str]:
    """Return the last ``lines`` lines of a container's output, both streams."""
    try:
        return _engine.output(container, lines, times=times)
    except DockerError as trouble:
        return str(trouble).splitlines()


def sweep(project: str) -> None:
    """Remove what Compose has made for a project besides: throw-away containers, networks."""
    label = f"com.docker.compose.project={project}"
    remove([container["Id"] for container in _engine.containers(label)])
    if networks := _engine.networks(label):
        run(["network", "rm", *networks])


_ANEW = ("--no-deps", "--no-build", "--pull", "never", "--force-recreate")


class Compose:
    """``docker compose`` on one project and one file."""

    def __init__(self, project: str, file: Path) -> None:
        argv = ["compose", "--project-name", project, "--file", str(file)]
        self._argv = [*argv, "--profile", "*"]

    # --no-deps throughout: the order is the rollout's business, and a service that waits for a
    # migration must not run it once more.

    def up(self, services: Sequence[str], *, timeout_seconds: float) -> None:
        """Make the containers of ``services`` anew and start them; returns without waiting."""
        argv = [*self._argv, "up", "--detach", *_ANEW, *services]
        run(argv, timeout_seconds=timeout_seconds)

    def create(self, services: Sequence[str], *, timeout_seconds: float) -> None:
        """Make the containers of ``services`` anew without starting them."""
        argv = [*self._argv, "up", "--no-start", *_ANEW, *services]
        run(argv, timeout_seconds=timeout_seconds)
