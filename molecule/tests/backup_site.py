"""A host with both stacks, and what its backups are asked."""

from __future__ import annotations

import json
from typing import Any

import taifish_site
import testinfra
import tg2em_site
from support import Machine, is_up, wait_until

STACKS: dict[str, Any] = {"tg2em": tg2em_site, "taifish": taifish_site}


def machine_of(name: str) -> Machine:
    """Return a host of the scenario."""
    return Machine(testinfra.get_host(f"docker://{name}"), name)


def wait_until_up(machine: Machine, stack: str) -> None:
    """Wait until every service of a stack is up."""

    def up() -> bool:
        services = machine.status(stack).values()
        missing = sorted(s["service"] for s in services if s["wanted"] == "up" and not is_up(s))
        assert services and not missing, f"not up: {', '.join(missing)}"
        return True

    wait_until(f"{stack} is up", up, seconds=90, every=0.5)


def backups(machine: Machine, stack: str) -> list[dict[str, Any]]:
    """Return the backups of a stack, the oldest first."""
    found: list[dict[str, Any]] = json.loads(machine.sh(f"moorage backups {stack} --json"))
    return sorted(found, key=lambda backup: float(backup["created"]))
