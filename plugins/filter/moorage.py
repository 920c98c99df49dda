"""Filters that the playbooks decide with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def moorage_settled(plan: Mapping[str, Any], seen: Mapping[str, Any]) -> bool:
    """Tell whether a stack already is what its plan asks for.

    ``plan`` is one of the stacks of ``moorage_plan``, ``seen`` what the survey found of it: its
    current release must be the planned one, and every container of it there and in order.
    """
    current = seen.get("current")
    if not current or current.get("dir") != plan["release"]:
        return False
    containers = {c.get("name"): c for c in seen.get("containers") or []}
    return all(
        name in containers and _in_order(service, containers[name])
        for service in plan["services"]
        for name in service["containers"]
    )


def _in_order(service: Mapping[str, Any], container: Mapping[str, Any]) -> bool:
    if container.get("state") == "running":
        return container.get("health") in (None, "", "none", "healthy")
    if service["kind"] == "process":
        return False
    if service["on_demand"]:
        return container.get("state") in ("created", "exited")
    return bool(service["one_off"] and container.get("exit_code") == 0)


class FilterModule:
    """What Ansible asks this file for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"moorage_settled": moorage_settled}
