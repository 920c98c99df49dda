"""A one-off command in the environment of a service: where it runs, and with what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moorage.deploy import docker
from moorage.deploy.release import Release, current_release, read_part
from moorage.release.directory import Processes
from moorage.release.layout import Layout
from moorage.release.manifest import Unit, is_of
from moorage.release.names import NEXT, STACK_LABEL, SUPERVISOR


class ExecuteError(Exception):
    """The command cannot be run; the message says why."""


def command_in(
    layout: Layout, service: str, command: Sequence[str], *, terminal: bool = False
) -> list[str]:
    """Return the ``docker`` command line that runs ``command`` as the service would.

    In the running container of the service; a process of the unified container gets that process's
    directory, environment and user. Where no container of it runs, a throw-away one is made of the
    same description. Its exit status is the command's. Raises ExecuteError.
    """
    release = current_release(layout)
    if release is None or not release.manifest.complete:
        raise ExecuteError(f"no release of {layout.stack} runs here: deploy it first")
    unit = _unit(release, service)
    container = next(
        (
            found
            for found in docker.containers_of(layout.stack)
            if found.name == unit.name and found.state == "running"
            if not found.name.endswith(NEXT)
        ),
        None,
    )
    how = ["--interactive", *(["--tty"] if terminal else [])]
    if container is not None:
        return ["docker", "exec", *how, *_as(release, unit, service), container.name, *command]
    if unit.processes:
        raise ExecuteError(
            f"{service} is a process of the container {unit.name}, which does not run: start it "
            f"with `docker start {unit.name}`, or deploy"
        )
    return ["docker", *apart(release, service, command, terminal=terminal)]


def apart(
    release: Release, service: str, command: Sequence[str], *, terminal: bool = False
) -> list[str]:
    """Return docker's arguments that run ``command`` in a throw-away container like the service's.

    The release need not be the running one. Raises ExecuteError.
    """
    unit = _unit(release, service)
    stack = release.manifest.stack
    return [
        "compose", "--progress", "quiet", "--project-name", stack,
        "--file", str(release.compose_file), "--profile", "*",
        "run", "--rm", "--no-deps", *(() if terminal else ("-T",)),
        # It is none of the stack's containers: no rollout counts it, no status shows it.
        "--label", f"{STACK_LABEL}=", *_as(release, unit, service),
        "--entrypoint", command[0], unit.keys[sorted(unit.keys)[0]], *command[1:],
    ]  # fmt: skip


def _unit(release: Release, service: str) -> Unit:
    units = release.manifest.units
    for unit in units:
        if unit.serves(service):
            return unit
    known = sorted({entry.name for entry in release.manifest.services})
    raise ExecuteError(
        f"{release.manifest.stack} has no service {service!r}: it has {', '.join(known)}"
    )


def _as(release: Release, unit: Unit, service: str) -> list[str]:
    """Return the options that make ``docker exec`` like the service's process."""
    if not unit.processes:
        return []
    config = read_part(release, SUPERVISOR, Processes)
    found = (p for p in config["processes"] if is_of(p["name"], service))
    process: Mapping[str, Any] = next(found, {})
    options = []
    if process.get("working_dir"):
        options += ["--workdir", str(process["working_dir"])]
    if process.get("user"):
        options += ["--user", str(process["user"])]
    for name, value in (process.get("environment") or {}).items():
        options += ["--env", f"{name}={value}"]
    return options
