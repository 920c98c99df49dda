"""Plain tables for a terminal: columns as wide as their content, colour only where asked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moorage.common.text import visible
from moorage.control.contract import OLD_PROOF_SECONDS, Event

_GOOD, _BAD, _DIM, _RESET = "\033[32m", "\033[31m", "\033[2m", "\033[0m"
_STATE_COLOURS = {
    "RUNNING": _GOOD,
    "FATAL": _BAD,
    "UNREACHABLE": _BAD,
    "BACKOFF": _BAD,
    "STOPPED": _DIM,
}


def table(rows: Sequence[Sequence[str]], *, colour: bool = False) -> str:
    """Return ``rows`` (the first is the header) as aligned text; numbers stand to the right."""
    rows = [[visible(cell).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = []
        for width, cell in zip(widths, row, strict=True):
            padded = cell.rjust(width) if _is_number(cell) else cell.ljust(width)
            if colour and cell in _STATE_COLOURS:
                padded = f"{_STATE_COLOURS[cell]}{padded}{_RESET}"
            cells.append(padded)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def status_rows(services: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return header and rows for the status of services."""
    rows = [["SERVICE", "KIND", "STATE", "HEALTH", "PID", "UPTIME", "RESTARTS", "MEMORY", "NOTE"]]
    for service in services:
        memory = service["memory_bytes"]
        rows.append(
            [
                str(service["service"]),
                str(service["kind"]),
                str(service["state"]),
                "-" if service["health"] == "none" else str(service["health"]),
                str(service["pid"] or "-"),
                "-" if service["uptime"] is None else duration(float(service["uptime"])),
                str(service["restarts"]),
                "-" if memory is None else f"{memory / 2**20:.0f} MiB",
                str(service["reason"] or ""),
            ]
        )
    return rows


def release_rows(releases: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return header and rows for a list of releases."""
    rows = [["RELEASE", "VERSION", "TOPOLOGY", "LAST ACTIVATED", "LAST ROLLOUT", "IMAGES", ""]]
    for release in releases:
        moments = release["activated"]
        last = "never"
        if moments:
            last = when(moments[-1])
        missing = len(release["missing_images"])
        rows.append(
            [
                release["release"],
                release["version"] or "-",
                release["topology"],
                last,
                release["outcome"] or "-",
                f"{missing} missing" if missing else "present",
                "current" if release["current"] else "",
            ]
        )
    return rows


def event_rows(events: Sequence[Event]) -> list[list[str]]:
    """Return header and rows for what happened to services."""
    rows = [["WHEN", "SERVICE", "WHAT", "WHO", "REASON"]]
    for event in events:
        moment = when(event.at)
        what = f"{event.kind}: {event.message}" if event.message else event.kind
        rows.append([moment, event.service, what, event.who or "", event.reason or ""])
    return rows


def when(seconds: float) -> str:
    """Return a moment in Unix seconds as a person reads it."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OSError, OverflowError, ValueError):
        return "-"


def backup_lines(backup: Mapping[str, Any], proof: Mapping[str, Any], now: float) -> Iterator[str]:
    """Say how the last backup and its proof went; with a ! where that is not as it should be.

    Both are what was noted of the last one, {} before the first.
    """
    if backup and not backup.get("ok"):
        failed = duration(max(0.0, now - float(backup.get("finished") or 0.0)))
        why = str(backup.get("message") or "").partition("\n")[0]
        yield f"! the last backup FAILED {failed} ago ({_newest('newest', backup, now)}): {why}"
    if not proof:
        yield "no backup is proven yet: `moorage prove` restores the newest one beside"
        return
    line = _newest("newest proven backup", proof, now)
    if not proof.get("ok"):
        yield f"! the last backup is NOT proven ({line}): `moorage backups` shows them"
        return
    yield f"! {line}" if now - float(proof.get("made") or 0.0) > OLD_PROOF_SECONDS else line


def _newest(what: str, noted: Mapping[str, Any], now: float) -> str:
    made = float(noted.get("made") or 0.0)
    return f"{what}: {duration(max(0.0, now - made))} old" if made else f"{what}: none"


def duration(seconds: float) -> str:
    """Return seconds as a person says them: 8s, 3m12s, 5h02m, 4d07h."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).isdigit()
