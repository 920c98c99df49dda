"""systemd's view of units: one question for all of them."""

from __future__ import annotations

import subprocess
from typing import NamedTuple

_PROPERTIES = (
    "Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload,"
    "ConditionResult,ConditionTimestampMonotonic,ExecMainStartTimestampMonotonic"
)

# Unit files that have nothing to enable count as enabled.
_ENABLED = {"enabled", "enabled-runtime", "static", "alias", "indirect", "generated", "transient"}


class Unit(NamedTuple):
    """The state of one unit."""

    name: str
    loaded: bool
    masked: bool
    active: bool
    enabled: bool
    # systemd was asked to start it and its own Condition…= lines said no.
    refused: bool
    # Its file changed since systemd read it.
    stale: bool
    # When its main process started, in seconds of the monotonic clock.
    started: float | None


def parse_show(text: str) -> dict[str, Unit]:
    """Units in the answer of `systemctl show --property=…`: blocks parted by empty lines."""
    found = {}
    for block in text.strip().split("\n\n"):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in fields:
            found[fields["Id"]] = _unit(fields)
    return found


def _unit(fields: dict[str, str]) -> Unit:
    active = fields.get("ActiveState") in ("active", "reloading", "activating")
    tried = fields.get("ConditionTimestampMonotonic", "0") not in ("", "0")
    started = fields.get("ExecMainStartTimestampMonotonic", "")
    return Unit(
        name=fields["Id"],
        loaded=fields.get("LoadState") == "loaded",
        masked=fields.get("LoadState") == "masked",
        active=active,
        enabled=fields.get("UnitFileState", "") in _ENABLED,
        refused=tried and not active and fields.get("ConditionResult") == "no",
        stale=fields.get("NeedDaemonReload") == "yes",
        started=int(started) / 1e6 if started.isdigit() and started != "0" else None,
    )


def show(names: list[str]) -> dict[str, Unit]:
    """The state of each unit, by the names asked for; empty where systemd does not answer."""
    if not names:
        return {}
    argv = ["systemctl", "show", "--no-pager", f"--property={_PROPERTIES}", "--", *names]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    # An alias is answered with the unit's real name, but in the order of the question.
    units = list(parse_show(done.stdout).values())
    if len(units) == len(names):
        return {name: units[index] for index, name in enumerate(names)}
    return {unit.name: unit for unit in units}
