"""What is deployed of a stack: its releases on the disk and its containers."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ansible.module_utils.moorage_host import state

# Where provisioning puts our own package on a host.
LIBRARY = "/usr/local/lib/moorage"


def current_release(directory: Path) -> dict[str, Any] | None:
    """The plain values of current/release.json and the release directory's name, or None."""
    try:
        target = os.readlink(directory / "current")
    except OSError:
        return None
    document = state.read_note(directory / "current" / "release.json")
    if not document or not readable(directory):
        # A link that leads nowhere or a release that was cut short: nothing is deployed.
        return None
    plain = {
        key: value
        for key, value in document.items()
        if value is None or isinstance(value, (str, int, float, bool))
    }
    return {**plain, "dir": Path(target).name}


def readable(directory: Path, library: str = LIBRARY) -> bool:
    """Whether the host's own Moorage can work with the release, where it has a word on that."""
    if library not in sys.path:
        sys.path.insert(0, library)
    try:
        from moorage.deploy.layout import Layout
        from moorage.deploy.release import readable_release

        return readable_release(Layout.of(directory.name, directory.parent)) is not None
    except (ImportError, OSError):
        return True


def stale_secrets(directory: Path, library: str = LIBRARY) -> list[str]:
    """Names of the secrets of which what runs holds another value than the file."""
    if not (directory / ".secrets.json").exists():
        return []
    if library not in sys.path:
        sys.path.insert(0, library)
    try:
        from moorage.deploy.layout import Layout
        from moorage.deploy.secretfiles import stale_secrets as find

        return find(Layout.of(directory.name, directory.parent))
    except (ImportError, OSError):
        # An older version there, which is brought up to date before anything is deployed.
        return []


def survey(
    wanted: list[dict[str, Any]], containers: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """For each stack its current release, what is left undone, and its containers."""
    found = {}
    for stack in wanted:
        directory = Path(stack.get("dir") or f"/opt/{stack['name']}")
        found[stack["name"]] = {
            "current": current_release(directory),
            # What the rollout on the host leaves there when it is cut off.
            "interrupted": os.path.lexists(directory / ".rollout.json"),
            "stale_secrets": stale_secrets(directory),
            "containers": [
                {key: value for key, value in entry.items() if key not in ("ports", "stack")}
                for entry in containers
                if entry["stack"] == stack["name"]
            ],
        }
    return found
