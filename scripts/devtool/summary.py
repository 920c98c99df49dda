"""What `make up` ends with: which service runs where, and how to sign in."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from devtool import shell
from devtool.testhost import Host
from devtool.ui import Problem, say
from moorage.cli.tables import duration, table

STACK = "tg2em"
_PASSWORD_FILE = f"/opt/{STACK}/secrets/admin_password"


def deployed(host: Host) -> dict[str, Any]:
    """Ask the host for its stack: topology, release, services."""
    asked = shell.capture(("docker", "exec", host.name, "moorage", "status", STACK, "--json"))
    if asked.returncode != 0:
        raise Problem(
            f"{host.name} runs, but {STACK} is not deployed on it",
            *asked.stderr.strip().splitlines()[-3:],
            "Deploy it with: make up",
        )
    return dict(json.loads(asked.stdout)[0])


def rows(services: Sequence[Mapping[str, Any]], published: Mapping[int, int]) -> list[list[str]]:
    """Return header and rows of the table, with each service's address on this machine."""
    lines = [["SERVICE", "STATE", "HEALTH", "PID", "UPTIME", "ON THIS MACHINE"]]
    for service in services:
        reached = [published[port] for port in service["ports"] if port in published]
        uptime = service["uptime"]
        lines.append(
            [
                str(service["service"]),
                str(service["state"]),
                "-" if service["health"] == "none" else str(service["health"]),
                str(service["pid"] or "-"),
                "-" if uptime is None else duration(float(uptime)),
                " ".join(f"http://127.0.0.1:{port}/" for port in reached) or "-",
            ]
        )
    return lines


def show(host: Host) -> None:
    """Print the table, and where the password is (never the password)."""
    stack = deployed(host)
    say("")
    say(f"{STACK} on {host.name}: {stack['topology']}, release {stack['release']}")
    say(table(rows(stack["services"], host.published), colour=sys.stdout.isatty()))
    say("")
    front_end = host.published.get(5000)
    if front_end:
        say(f"Sign in at http://127.0.0.1:{front_end}/dm as admin; this shows the password:")
        say(f"  docker exec {host.name} cat {_PASSWORD_FILE}")
    say("More: make status, make logs, make ssh. Remove it: make down")
