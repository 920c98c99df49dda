"""ferry on a host: whom it has found by a name, and what its clerk does when it is told to."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from support import Machine

STACK, PORT, OWN_USER = "ferry", 7000, 10021
OFFICE = f"/opt/{STACK}/data/office"
CLERK = f"{STACK}-clerk"
# In molecule/tests/host/stacks/ferry/compose.yml.
RESTARTS, PAUSE_SECONDS = 3, 1.0


def database(machine: Machine) -> tuple[str, str]:
    """Return name and address of the database that its server has found."""
    with urllib.request.urlopen(f"http://{machine.address}:{PORT}/", timeout=10) as answer:
        name, address = json.load(answer)
        return name, address


def clerk(machine: Machine) -> dict[str, Any]:
    """Return what is said of the clerk."""
    return machine.status(STACK)["clerk"]


def back(machine: Machine, pid: int) -> dict[str, Any]:
    """Make sure that the clerk runs as another process than before; return what is said of it."""
    now = clerk(machine)
    assert now["state"] == "RUNNING" and now["pid"] not in (None, pid), now
    return now


def events(machine: Machine, service: str) -> list[dict[str, Any]]:
    """Return what has happened to a service, oldest first."""
    found = json.loads(machine.sh(f"moorage events --json -n 200 {STACK}"))
    return [event for event in found if event["service"] == service]
