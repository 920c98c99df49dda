"""A host with both stacks, and what its backups are asked."""

from __future__ import annotations

import json
from typing import Any

import taifish_site
import testinfra
import tg2em_site
from support import Machine

STACKS: dict[str, Any] = {"tg2em": tg2em_site, "taifish": taifish_site}


def machine_of(name: str) -> Machine:
    """Return a host of the scenario."""
    return Machine(testinfra.get_host(f"docker://{name}"), name)


def backups(machine: Machine, stack: str) -> list[dict[str, Any]]:
    """Return the backups of a stack, the oldest first."""
    found: list[dict[str, Any]] = json.loads(machine.sh(f"moorage backups {stack} --json"))
    return sorted(found, key=lambda backup: float(backup["created"]))
