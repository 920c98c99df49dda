"""Throwaway hosts: containers that boot systemd and can run a container engine of their own.

The one place that knows how such a container has to be started. `make up`, Molecule's create
and destroy playbooks and the tests all come here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devtool import images, shell
from devtool.paths import ROOT, STATE
from devtool.ui import Problem

LABEL = "moorage.testhost"
_CHECKOUT = f"moorage.checkout={ROOT}"
_BOOT_SECONDS = 60

_PRIVILEGED = ("--privileged",)
# What is left of it where the engine itself lacks CAP_SYS_RESOURCE and so cannot hand it on.
_UNPRIVILEGED = (
    "--cap-add=ALL",
    "--cap-drop=SYS_RESOURCE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--security-opt=systempaths=unconfined",
    "--device-cgroup-rule=a *:* rwm",
)

# Where hosts leave images for one another: on this machine, named in the environment while they
# do, and on a host. The programs that do it stand before those that a host's packages bring.
_KEPT = STATE / "once"
_KEPT_VARIABLE = "MOORAGE_BUILT_ONCE"
_KEPT_ON_HOST = "/var/cache/once"
_PROGRAMS = ROOT / "molecule" / "shared" / "once"
_PLACES = ("/usr/local/lib/docker/cli-plugins/docker-buildx", "/usr/local/bin/mmdebstrap")


@dataclass(frozen=True)
class Spec:
    """A host to be: its name, what it belongs to, and what of it this machine can reach."""

    name: str
    scenario: str
    ports: Sequence[str] = ()
    networks: Sequence[str] = ()
    volumes: Sequence[str] = ()
    image: str = images.TESTHOST
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Host:
    """A host as the engine sees it."""

    name: str
    running: bool
    scenario: str
    address: str
    published: dict[int, int]


def find(name: str) -> Host | None:
    """Return the test host of this name, None when there is none.

    A container of the same name that we did not make is a Problem: nothing touches it.
    """
    done = shell.capture(("docker", "container", "inspect", name))
    if done.returncode != 0:
        return None
    found = json.loads(done.stdout)[0]
    labels = found["Config"]["Labels"] or {}
    if LABEL not in labels:
        raise Problem(
            f"a container {name} is here that is not a test host of this project",
            f"Look at it, and remove or rename it: docker rename {name} OTHER",
        )
    networks = found["NetworkSettings"]["Networks"].values()
    return Host(
        name=name,
        running=found["State"]["Running"],
        scenario=labels[LABEL],
        address=next((network["IPAddress"] for network in networks), ""),
        published=_published(found),
    )


def create(spec: Spec) -> bool:
    """Make sure that the host runs and has booted; return whether anything had to be done."""
    host = find(spec.name)
    if host is not None and host.running:
        return False
    if host is not None:
        shell.output(("docker", "start", spec.name))
    else:
        _run(spec)
    wait_booted(spec.name)
    return True


def destroy(name: str) -> bool:
    """Remove a test host and its volumes; return whether there was one."""
    if find(name) is None:
        return False
    shell.output(("docker", "rm", "--force", "--volumes", name), timeout=120)
    return True


@contextmanager
def building_once() -> Iterator[None]:
    """Let hosts that are created meanwhile, by child processes too, build each image once for all.

    What is kept goes in the end: a run never takes an image from another one, or another commit.
    """
    shutil.rmtree(_KEPT, ignore_errors=True)
    _KEPT.mkdir(parents=True)
    os.environ[_KEPT_VARIABLE] = str(_KEPT)
    try:
        yield
    finally:
        del os.environ[_KEPT_VARIABLE]
        shutil.rmtree(_KEPT, ignore_errors=True)


def names(scenario: str | None = None) -> list[str]:
    """Return the names of the test hosts made by this checkout, of one scenario or of all."""
    wanted = LABEL if scenario is None else f"{LABEL}={scenario}"
    listed = shell.output(
        (
            "docker",
            "ps",
            "--all",
            "--format",
            "{{.Names}}",
            "--filter",
            f"label={wanted}",
            "--filter",
            f"label={_CHECKOUT}",
        )
    )
    return listed.split()


def wait_booted(name: str) -> None:
    """Wait until systemd has started everything; raise with its journal when that fails."""
    waiting = ("timeout", str(_BOOT_SECONDS), "sh", "-c")
    # Right after the start PID 1 is not systemd yet and nothing listens on its bus.
    script = (
        "until systemctl is-system-running --wait 2>/dev/null"
        " | grep -E 'running|degraded'; do sleep 0.1; done"
    )
    done = shell.capture(("docker", "exec", name, *waiting, script), timeout=_BOOT_SECONDS + 10)
    if done.returncode == 0 and done.stdout.strip() == "running":
        return
    failed = shell.capture(
        ("docker", "exec", name, "systemctl", "--failed", "--no-legend", "--plain")
    )
    logs = shell.capture(("docker", "logs", "--tail", "20", name))
    raise Problem(
        f"test host {name} did not boot cleanly: {done.stdout.strip() or 'no answer'}",
        *failed.stdout.splitlines(),
        *(logs.stdout + logs.stderr).splitlines(),
        f"Look inside: docker exec -it {name} journalctl -b",
    )


def _run(spec: Spec) -> None:
    argv = [
        *("docker", "run", "--detach", "--name", spec.name, "--hostname", spec.name),
        # Time enough for systemd, its engine and the containers in it to stop in order.
        "--stop-timeout=60",
        *("--cgroupns=private", "--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp:exec"),
        # An engine's layers on the container's own layers would be overlay on overlay.
        *("--volume=/var/lib/docker", "--volume=/var/lib/containerd"),
        *(f"--label={key}={value}" for key, value in spec.labels.items()),
        f"--label={LABEL}={spec.scenario}",
        f"--label={_CHECKOUT}",
        *(f"--publish={port}" for port in spec.ports),
        *(f"--network={network}" for network in spec.networks),
        *(f"--volume={volume}" for volume in (*spec.volumes, *_once())),
    ]
    done = shell.capture((*argv, *_PRIVILEGED, spec.image), timeout=120)
    if done.returncode != 0 and "caps" in done.stderr:
        # The failed attempt leaves a container that was never started.
        shell.capture(("docker", "rm", "--force", "--volumes", spec.name))
        done = shell.capture((*argv, *_UNPRIVILEGED, spec.image), timeout=120)
    if done.returncode != 0:
        shell.capture(("docker", "rm", "--force", "--volumes", spec.name))
        raise Problem(f"test host {spec.name} does not start", *_explain(done.stderr, spec))


def _once() -> list[str]:
    """Return the volumes of a host that shares what it builds; none outside `building_once`."""
    kept = os.environ.get(_KEPT_VARIABLE)
    if not kept:
        return []
    programs = [f"{_PROGRAMS / Path(place).name}:{place}:ro" for place in _PLACES]
    return [f"{kept}:{_KEPT_ON_HOST}", *programs]


def _published(found: dict[str, Any]) -> dict[int, int]:
    """Return this machine's port for each port inside, as asked for or as the engine chose."""
    actual = found["NetworkSettings"]["Ports"] or {}
    asked = found["HostConfig"]["PortBindings"] or {}
    bound = {inside: (actual.get(inside) or asked[inside]) for inside in asked}
    return {
        int(inside.partition("/")[0]): int(outside[0]["HostPort"] or 0)
        for inside, outside in bound.items()
        if outside
    }


def _explain(stderr: str, spec: Spec) -> list[str]:
    lines = stderr.strip().splitlines()
    if "port is already allocated" in stderr or "address already in use" in stderr:
        lines.append(f"Wanted ports: {', '.join(spec.ports)}")
        lines.append("Choose others, for example: make up PORTS=15000,18088")
    return lines
