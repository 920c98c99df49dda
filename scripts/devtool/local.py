"""The throwaway host of `make up`: making it, describing it to Ansible, removing it."""

from __future__ import annotations

import json
import os
import shlex
import socket
from collections.abc import Sequence
from typing import Any

from devtool import certificates, engine, galaxy, images, shell, summary, testhost
from devtool.paths import VENV_BIN
from devtool.progress import Progress
from devtool.ui import Problem, say, step

NAME = "moorage-local"
STACK = summary.STACK
# What tg2em serves inside the host: the front end and the image service.
PORTS = (5000, 8088)


def up(ports: Sequence[int] | None) -> int:
    """Bring the throwaway host up, deploy to it, and say what runs where."""
    galaxy.ensure()
    engine.ensure()
    _check_ports(ports)
    images.ensure_testhost()
    known = testhost.find(NAME) is not None
    _ensure_host(ports or PORTS)
    argv = (VENV_BIN / "ansible-playbook", "-i", "inventory/local", "site.yml")
    with step("ansible-playbook site.yml"):
        status = shell.foreground(argv) if known else shell.watched(argv, Progress(say).see)
    if status != 0:
        say("The deployment did not finish. What it says above is the place to start; then:")
        say("  make up       once more: it goes on where it stopped")
        say("  make ssh      a root shell on the host        make logs   the services' logs")
        return status
    summary.show(_host())
    return 0


def down() -> int:
    """Remove the throwaway host and its data, and stop the engine if we started it."""
    if engine.version() is None:
        say("Nothing to remove: no Docker engine answers.")
    elif testhost.find(NAME) is None:
        say(f"Nothing to remove: there is no {NAME}.")
    else:
        with step(f"Removing {NAME} and its data"):
            testhost.destroy(NAME)
    engine.stop_if_ours()
    return 0


def clean() -> int:
    """Remove every test host and our images too; the environments are removed by make."""
    if engine.version() is not None:
        for name in testhost.names():
            testhost.destroy(name)
        images.remove()
    engine.stop_if_ours()
    return 0


def teardown() -> int:
    """Remove every test host and stop the engine if we started it; images stay."""
    if engine.version() is not None:
        for name in testhost.names():
            testhost.destroy(name)
    engine.stop_if_ours()
    return 0


def status() -> int:
    """Show what runs on the throwaway host."""
    summary.show(_host())
    return 0


def logs(service: str | None) -> int:
    """Follow the log of one service, or show the last lines of each."""
    host = _host()
    ask = ("docker", "exec", host.name, "moorage", "logs", STACK)
    if service:
        return shell.foreground((*ask, service, "--follow"))
    failures = 0
    for known in summary.deployed(host)["services"]:
        say(f"==> {known['service']}")
        failures += shell.foreground((*ask, known["service"], "--lines", "15")) != 0
    say("Follow one: make logs SERVICE=frontend")
    return 1 if failures else 0


def login() -> int:
    """Open a root shell on the throwaway host."""
    _host()
    terminal = ("--interactive", "--tty") if os.isatty(0) else ("--interactive",)
    return shell.foreground(("docker", "exec", *terminal, NAME, "bash", "--login"))


def inventory() -> dict[str, Any]:
    """Return the inventory of the throwaway host, as Ansible's script inventories print it."""
    host = testhost.find(NAME)
    published = host.published if host else {}
    pictures = published.get(8088, 8088)
    variables = {
        # 0.22 s a task here, where SSH with a kept connection takes 0.18 s and wants a server,
        # and the connection through the engine's API takes 0.26 s.
        "ansible_connection": "community.docker.docker",
        "ansible_user": "root",
        "moorage_extra_ca_bundle": certificates.extra_bundle(),
        f"{STACK}_variables": {"TGSTATE_PUBLIC_URL": f"http://127.0.0.1:{pictures}"},
    }
    return {STACK: {"hosts": [NAME]}, "_meta": {"hostvars": {NAME: variables}}}


def print_inventory() -> int:
    """Print the inventory for Ansible."""
    print(json.dumps(inventory()))
    return 0


def _host() -> testhost.Host:
    host = testhost.find(NAME)
    if host is None or not host.running:
        raise Problem(f"{NAME} does not run", "Start it with: make up")
    return host


def _ensure_host(ports: Sequence[int]) -> None:
    if (host := testhost.find(NAME)) is not None and host.running:
        return
    with step(f"Throwaway host {NAME}: a bare Debian 13"):
        published = [
            f"127.0.0.1:{outside}:{inside}" for outside, inside in zip(ports, PORTS, strict=True)
        ]
        testhost.create(testhost.Spec(NAME, "local", ports=published))


def _check_ports(ports: Sequence[int] | None) -> None:
    """Say before any work is done that a port is taken, or differs from what the host has."""
    host = testhost.find(NAME)
    if host is not None:
        now = [host.published.get(inside) for inside in PORTS]
        if ports is not None and list(ports) != now:
            raise Problem(
                f"{NAME} is there already with the ports {now[0]},{now[1]}",
                "A container's ports are fixed when it is made. For other ones:",
                f"  make down && make up PORTS={shlex.quote(','.join(map(str, ports)))}",
            )
        return
    for port in ports or PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise Problem(
                    f"port {port} of this machine is taken ({error.strerror})",
                    "Choose others for the front end and the image service, for example:",
                    "  make up PORTS=15000,18088",
                ) from error
