"""The Docker engine, as far as a rollout needs it: read by its API, changed by its command line.

The command line and not the SDK: it is on every host that runs the engine, so the package needs
nothing beside Python itself.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from moorage.common.engine import DockerError, Engine
from moorage.common.readers import read_note
from moorage.deploy.instance import ANYWHERE, Instance, Published
from moorage.deploy.release import Release
from moorage.deploy.runtimes.base import AS_IT_IS, Surroundings
from moorage.release.manifest import Unit
from moorage.release.names import (
    COMPOSE_JSON,
    CONFIG_LABEL,
    REPLICA_LABEL,
    SERVICE_LABEL,
    SLOT_LABEL,
    STACK_LABEL,
    UNIFIED,
)

_SAID_LINES = 15
_POLL_SECONDS = 0.05
_LOOKING_SECONDS = 10.0
_FOR_EVER_SECONDS = 30 * 86_400.0
# Compose's progress, and what it, the engine's client or a program only warns or tells of.
_ASIDE = re.compile(
    r"\s*$|time=\S+ level=(warn\w*|info|debug)|(\S+:\d+: )?\w*(?i:warning|deprecated)\b"
    r"|\W*(?i:warn|info|notice|debu?g?)\b|\w+ WARN\b|W: "
    r"|\s*(Container|Network|Volume|Image) \S+\s+[A-Z]\w+\s*$"
)
# What Compose writes on all that it makes for a stack.
_PROJECT = "com.docker.compose.project={}"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# --no-deps: the order is the rollout's business, and a service that waits for a migration must not
# run it once more.
_ANEW = ("--no-deps", "--no-build", "--pull", "never", "--force-recreate")


class Docker:
    """Runs instances as containers of this host's engine; see `Runtime`."""

    def __init__(self) -> None:
        self._engine = Engine()

    # -- looking --------------------------------------------------------------------------

    def instances(self, stack: str) -> list[Instance]:
        """Return the containers that were made for services of the stack, running or not."""
        # Images carry the stack's label too, and everybody's containers inherit it from them.
        found = self._engine.containers(f"{STACK_LABEL}={stack}", SERVICE_LABEL)
        return sorted((_instance(raw) for raw in found), key=lambda c: c.name)

    def logs(self, name: str, lines: int, times: bool = False) -> list[str]:
        """Return the last lines of a container's output, both streams; or why there are none."""
        try:
            return self._engine.output(name, lines, times=times)
        except DockerError as trouble:
            return str(trouble).splitlines()

    def out_of_memory(self, name: str) -> bool:
        """Tell whether the kernel has killed a process of the container for want of memory."""
        return bool(self._found(name)["State"]["OOMKilled"])

    def _found(self, name: str) -> dict[str, Any]:
        found = self._engine.container(name)
        if found is None:
            raise DockerError(f"cannot look at the container {name}: there is none")
        return found

    # -- making and removing --------------------------------------------------------------

    def make(
        self, release: Release, keys: Sequence[str], *, start: bool, timeout_seconds: float
    ) -> None:
        """Make the containers of these services of the Compose file anew."""
        how = "--detach" if start else "--no-start"
        argv = [*_compose(release), "up", how, *_ANEW, *keys]
        run(argv, timeout_seconds=timeout_seconds)

    def start(self, names: Sequence[str]) -> None:
        """Start containers that there are."""
        run(["start", *names])

    def restart(self, name: str, *, timeout_seconds: float) -> None:
        """Stop a container with its grace, and start it."""
        run(["restart", name], timeout_seconds=timeout_seconds)

    def stop(self, names: Sequence[str], *, timeout_seconds: float) -> None:
        """Stop containers side by side, each with the grace that it was made with."""
        if names:
            run(["stop", *names], timeout_seconds=timeout_seconds)

    def hold(self, names: Sequence[str]) -> None:
        """The engine starts nothing at a boot that was stopped."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove containers, running or not."""
        if names:
            run(["rm", "--force", *names], timeout_seconds=120)

    def rename(self, name: str, to: str) -> None:
        """Give a container another name."""
        run(["rename", name, to])

    def rename_if_it_runs(self, name: str, to: str) -> None:
        """Give a container another name, or remove it where it ends again and again.

        Those the engine cannot rename as they end, whatever they were a moment before.
        """
        deadline = time.monotonic() + _LOOKING_SECONDS
        while True:
            try:
                return self.rename(name, to)
            except DockerError:
                found = self._found(name)
                if found["State"]["Status"] != "running" or found["RestartCount"]:
                    return self.remove([name])
                # It may have ended without the engine's having noticed.
                if time.monotonic() > deadline:
                    raise
            time.sleep(_POLL_SECONDS)

    def limit(self, name: str, pids: int) -> None:
        """Limit the number of a container's processes as it runs."""
        run(["update", "--pids-limit", str(pids), name])

    def sweep(self, stack: str) -> None:
        """Remove what Compose has made for a project besides: throw-away containers, networks."""
        # By labels: the file of a release may be damaged.
        label = _PROJECT.format(stack)
        self.remove([container["Id"] for container in self._engine.containers(label)])
        if networks := self._engine.networks(label):
            run(["network", "rm", *networks])

    def retire_networks(self, release: Release) -> list[str]:
        """Remove networks of the stack that the release does not describe, but for used ones."""
        composed = read_note(release.path / COMPOSE_JSON)
        keep = {str(network["name"]) for network in (composed.get("networks") or {}).values()}
        # Without containers there are none to keep; of what cannot be read nobody knows.
        made = self._engine.networks(_PROJECT.format(release.manifest.stack)) if composed else {}
        removed = []
        for name in sorted(made.keys() - keep):
            # One that a container of somebody else's is in stays with it.
            with suppress(DockerError):
                run(["network", "rm", name])
                removed.append(name)
        return removed

    # -- commands -------------------------------------------------------------------------

    def within(
        self,
        name: str,
        command: Sequence[str],
        beside: Surroundings = AS_IT_IS,
        *,
        interactive: bool = False,
        terminal: bool = False,
    ) -> list[str]:
        """Return the command line that runs ``command`` in a running container."""
        how = [*(["--interactive"] if interactive else []), *(["--tty"] if terminal else [])]
        return ["docker", "exec", *how, *_options(beside), name, *command]

    def apart(
        self,
        release: Release,
        unit: Unit,
        command: Sequence[str],
        beside: Surroundings = AS_IT_IS,
        *,
        terminal: bool = False,
    ) -> list[str]:
        """Return the command line that runs ``command`` in a throw-away container like it."""
        return [
            "docker", *_compose(release, "--progress", "quiet"),
            "run", "--rm", "--no-deps", *(() if terminal else ("-T",)),
            # It is none of the stack's containers: no rollout counts it, no status shows it.
            "--label", f"{STACK_LABEL}=", *_options(beside),
            "--entrypoint", command[0], unit.keys[min(unit.keys)], *command[1:],
        ]  # fmt: skip

    def output(self, argv: Sequence[str], *, timeout_seconds: float) -> str:
        """Run a command line that `within` or `apart` gave, and return what it prints."""
        return run(argv[1:], timeout_seconds=timeout_seconds)

    def by_hand(self, verb: str, name: str) -> list[str]:
        """Return the command line by which a person does so: start, stop or restart."""
        return ["docker", verb, name]

    def follow(self, name: str, lines: int, times: bool) -> list[str]:
        """Return the command line that prints a container's output as it is written."""
        argv = ["docker", "logs", "--follow", "--tail", str(lines)]
        return [*argv, *(["--timestamps"] if times else []), name]

    def refuse(self, release: Release) -> None:
        """Raise DockerError for what this host's own Compose does not take, or would not find."""
        run([*_compose(release), "config", "--quiet"])
        described = read_note(release.path / COMPOSE_JSON).get("networks") or {}
        wanted = {str(entry["name"]) for entry in described.values() if entry.get("external")}
        if absent := sorted(wanted - self._engine.networks().keys() if wanted else ()):
            raise DockerError(
                f"the network {absent[0]} is external and not on this host: "
                f"`docker network create {absent[0]}`, or remove `external` to have one of its own"
            )

    # -- images ---------------------------------------------------------------------------

    def missing(self, refs: Sequence[str]) -> list[str]:
        """Return those of ``refs`` that the engine does not hold."""
        present = self._engine.images() if refs else {}
        return [ref for ref in refs if _full(ref) not in present]

    def digests(self, refs: Sequence[str]) -> dict[str, str]:
        """Return the ids (content digests) of the images that this host holds, by reference."""
        held = self._engine.images() if refs else {}
        return {ref: held[full] for ref in refs if (full := _full(ref)) in held}

    def prune(self, stack: str, keep: Collection[str]) -> list[str]:
        """Remove the images that were built for ``stack``, but for those in ``keep``.

        Returns what was removed. An image that a container still uses stays: the engine refuses.
        """
        built = self._engine.images(f"{STACK_LABEL}={stack}")
        removed = []
        for ref in sorted(set(built) - set(keep)):
            try:
                run(["image", "rm", ref])
            except DockerError:
                continue
            removed.append(ref)
        return removed


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


def _instance(raw: Mapping[str, Any]) -> Instance:
    state = raw["State"]
    labels = raw["Config"].get("Labels") or {}
    return Instance(
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
        stop_seconds=_grace(raw["Config"].get("StopTimeout")),
        writes=_mounted(raw, writable=True),
        reads=_mounted(raw, writable=False),
        supervised=labels.get(SERVICE_LABEL) == UNIFIED,
    )


def _grace(given: int | None) -> float:
    seconds = 10.0 if given is None else float(given)
    return seconds if seconds >= 0 else _FOR_EVER_SECONDS


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


def _compose(release: Release, *options: str) -> list[str]:
    """Return docker's arguments that speak of a release's Compose file, all of its profiles."""
    file = str(release.compose_file)
    project = release.manifest.stack
    return ["compose", *options, "--project-name", project, "--file", file, "--profile", "*"]


def _options(beside: Surroundings) -> list[str]:
    options = []
    if beside.directory:
        options += ["--workdir", beside.directory]
    if beside.user:
        options += ["--user", beside.user]
    for name, value in beside.environment.items():
        options += ["--env", f"{name}={value}"]
    return options


def _full(ref: str) -> str:
    return ref if ":" in ref.rpartition("/")[2] else f"{ref}:latest"
