"""Filters that the playbooks decide with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def moorage_settled(plan: Mapping[str, Any], seen: Mapping[str, Any]) -> bool:
    """Tell whether a stack already is what its plan asks for.

    ``plan`` is one of the stacks of ``moorage_plan``, ``seen`` what the survey found of it: its
    current release must be the planned one, and every container of it there, up and, where it
    has a health check, healthy.
    """
    current = seen.get("current")
    containers = seen.get("containers") or []
    if not current or current.get("dir") != plan["release"]:
        return False
    wanted = {service["container"] for service in plan["services"]}
    if wanted - {c.get("name") for c in containers}:
        return False
    return all(
        c.get("state") == "running" and c.get("health") in (None, "", "none", "healthy")
        for c in containers
    )


class FilterModule:
    """What Ansible asks this file for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"moorage_settled": moorage_settled}
