"""The systemd units that a release brings: files installed below the unit directory."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from moorage.deploy.gate import Check
from moorage.deploy.release import Release, ReleaseError

UNIT_DIRECTORY = Path("/etc/systemd/system")


def units_of(release: Release) -> list[str]:
    """Return the names of the units among the files that the release installs."""
    targets = [Path(target) for target in release.manifest.get("install", {}).values()]
    return sorted(t.name for t in targets if t.parent == UNIT_DIRECTORY)


def start(release: Release) -> list[str]:
    """Enable the units and start what is not running or runs with an older file.

    Returns the names of those that were started. Raises ReleaseError when systemd refuses.
    """
    started = []
    for unit in units_of(release):
        stale = _property(unit, "NeedDaemonReload") == "yes"
        if stale:
            _systemctl("daemon-reload")
        if stale or _property(unit, "ActiveState") != "active":
            _systemctl("enable", "--quiet", unit)
            _systemctl("restart", unit)
            started.append(unit)
    return started


def stop(release: Release) -> None:
    """Stop and disable the units; their files are still there."""
    for unit in units_of(release):
        _systemctl("disable", "--now", "--quiet", unit)


def forget() -> None:
    """Have systemd notice that files of units are gone."""
    _systemctl("daemon-reload")


def checks(release: Release) -> Sequence[Check]:
    """Say of every unit whether it runs."""
    found = []
    for unit in units_of(release):
        state = _property(unit, "ActiveState")
        found.append(Check(unit, state == "active", state, hopeless=state == "failed"))
    return found


def _property(unit: str, name: str) -> str:
    return _systemctl("show", "--property", name, "--value", unit).strip()


def _systemctl(*argv: str) -> str:
    done = subprocess.run(
        ["systemctl", *argv], capture_output=True, text=True, check=False, timeout=90
    )
    if done.returncode != 0:
        raise ReleaseError(f"`systemctl {' '.join(argv)}` failed: {done.stderr.strip()}")
    return done.stdout
