"""What is deployed of a stack: its releases on the disk and its containers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def current_release(directory: Path) -> dict[str, Any] | None:
    """The plain values of current/release.json and the release directory's name, or None."""
    try:
        target = os.readlink(directory / "current")
        text = (directory / "current" / "release.json").read_text(encoding="utf-8")
        document = dict(json.loads(text))
    except (OSError, ValueError, TypeError):
        # A link that leads nowhere or a release that was cut short: nothing is deployed.
        return None
    plain = {
        key: value
        for key, value in document.items()
        if value is None or isinstance(value, (str, int, float, bool))
    }
    return {**plain, "dir": Path(target).name}


def releases(directory: Path) -> list[str]:
    """The retained releases, oldest first (by name, which begins with the time)."""
    try:
        return sorted(
            entry.name
            for entry in os.scandir(directory / "releases")
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
        )
    except OSError:
        return []


def survey(
    wanted: list[dict[str, Any]], containers: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """For each stack its current release, retained releases and containers."""
    found = {}
    for stack in wanted:
        directory = Path(stack.get("dir") or f"/opt/{stack['name']}")
        found[stack["name"]] = {
            "current": current_release(directory),
            "releases": releases(directory),
            # What the rollout on the host leaves there when it is cut off.
            "interrupted": (directory / ".rollout.json").exists(),
            "containers": [
                {key: value for key, value in entry.items() if key not in ("ports", "stack")}
                for entry in containers
                if entry["stack"] == stack["name"]
            ],
        }
    return found
