"""The systemd units that a release brings: files installed below the unit directory."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from moorage.deploy.gate import Check
from moorage.deploy.release import ROTATIONS, Release, ReleaseError, only_of, remove_runtime
from moorage.release.layout import Layout
from moorage.release.names import GATEWAY, WATCH

UNIT_DIRECTORY = Path("/etc/systemd/system")


def units_of(release: Release) -> list[str]:
    """Return the names of the units among the files that the release installs."""
    targets = [Path(target) for target in release.manifest.install.values()]
    return sorted(t.name for t in targets if t.parent == UNIT_DIRECTORY)


def start(release: Release) -> list[str]:
    """Enable the units and start what is not running or runs with an older file.

    Returns the names of those that were started. Raises ReleaseError when systemd refuses.
    """
    started, units = [], units_of(release)
    # Of all of them before any is touched: no reload tells afterwards whose file was another one.
    stale = {unit for unit in units if _property(unit, "NeedDaemonReload") == "yes"}
    if stale:
        _systemctl("daemon-reload")
    for unit in units:
        if unit in stale or _property(unit, "ActiveState") != "active":
            _systemctl("enable", "--quiet", unit)
            _systemctl("restart", unit)
            started.append(unit)
    return started


def withdraw(release: Release, layout: Layout, stays: Release | None = None) -> None:
    """Take away the units that the release that stays does not bring, and what belongs to them."""
    # Another form of the stack may have brought, and taken away, the same.
    gone = [
        path
        for path in only_of(release, stays)
        if (UNIT_DIRECTORY in path.parents or path.parent == ROTATIONS) and path.exists()
    ]
    units = [path.name for path in gone if path.parent == UNIT_DIRECTORY]
    for unit in units:
        _systemctl("disable", "--now", "--quiet", unit)
    for path in gone:
        path.unlink(missing_ok=True)
    # Drop-ins, too: systemd has what they name in memory until then.
    if any(UNIT_DIRECTORY in path.parents for path in gone):
        _systemctl("daemon-reload")
    for part in (GATEWAY, WATCH):
        if f"moorage-{part}-{layout.stack}.service" in units:
            remove_runtime(layout.runtime(part))


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
