"""Whether the edge of a host is as provisioning left it."""

from __future__ import annotations

from typing import Any

CONTAINER = "moorage-edge"
UNIT = "moorage-edge.service"


def drift(kind: str | None, containers: list[dict[str, Any]]) -> list[str]:
    """What differs, by name; a native edge is a unit, which the record knows."""
    states = [entry["state"] for entry in containers if entry["name"] == CONTAINER]
    if kind == "container":
        if not states:
            return [f"edge {CONTAINER}: missing"]
        return [] if states[0] == "running" else [f"edge {CONTAINER}: {states[0]}"]
    if kind in ("native", "none") and states:
        return [f"edge {CONTAINER}: is there, although the edge is {kind}"]
    return []
