"""Statuses and events for people."""

from __future__ import annotations

import sys
import time

from process_supervisor.common.visible import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLOURS = {"RUNNING": 32, "EXITED": 36, "STOPPED": 90, "FATAL": 31, "BACKOFF": 33, "STARTING": 33,
           "STOPPING": 33}  # fmt: skip
HEADINGS = ("NAME", "STATE", "HEALTH", "PID", "UPTIME", "RESTARTS", "CPU", "MEMORY", "PORTS")


def well(item: dict[str, Any]) -> bool:
    """Return whether a process is as it should be.

    One that shall be up runs and is not unhealthy, or has completed if it is one that ends.
    """
    if item["wanted"] == "down":
        return True
    if item["state"] == "RUNNING":
        return bool(item["health"] != "unhealthy")
    completed = item["exit"] is not None and item["exit"]["code"] == 0
    return bool(item["state"] == "EXITED" and completed)


def duration(seconds: float) -> str:
    """Return a time span in its two largest units."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def cells(item: dict[str, Any]) -> list[str]:
    """Return a table row."""
    up = item["pid"] is not None
    return [
        item["name"], item["state"], item["health"] if item["health"] != "none" else "-",
        str(item["pid"]) if up else "-", duration(item["uptime"]) if up else "-",
        str(item["restarts"]), f"{item['cpu_percent']:.1f}%" if up else "-",
        f"{item['memory_bytes'] / 1e6:.1f} MB" if up else "-",
        ",".join(map(str, item["ports"])) or "-",
    ]  # fmt: skip


def table(items: list[dict[str, Any]]) -> None:
    """Print statuses as a table, with colour on a terminal."""
    rows = [list(HEADINGS), *(cells(item) for item in items)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for number, row in enumerate(rows):
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        if number and sys.stdout.isatty():
            padded[1] = f"\x1b[{COLOURS.get(row[1], 0)}m{padded[1]}\x1b[0m"
        reason = items[number - 1]["reason"] if number else "REASON"
        print("  ".join([*padded, in_a_line(reason or "")]).rstrip())
    for item in items:
        for text in item["log_tail"]:
            print(f"{item['name']} | {visible(text)}")


def line(item: dict[str, Any]) -> None:
    """Print one status in a line."""
    pid = f" (pid {item['pid']})" if item["pid"] else ""
    reason = f": {in_a_line(item['reason'])}" if item["reason"] else ""
    print(f"{item['name']}: {item['state']}{pid}{reason}")


def event(entry: dict[str, Any]) -> str:
    """Return an event as a line."""
    at = moment(entry["at"])
    facts = [
        f"{key}={value}" for key, value in entry.items()
        # What "exit" says the reason says in words.
        if key not in ("seq", "at", "event", "process", "from", "to", "reason", "exit")
    ]  # fmt: skip
    step = f"{entry['from']} -> {entry['to']}" if "to" in entry else entry["event"]
    reason = f": {entry['reason']}" if "reason" in entry else ""
    return in_a_line(
        " ".join([str(entry["seq"]), at, entry.get("process", "-"), step, *facts]) + reason
    )


def in_a_line(text: str) -> str:
    """Return what others wrote as a line that does nothing to a terminal."""
    return visible(text).replace("\n", " ")


def counted(number: int, what: str) -> str:
    """Return so many of something."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def plugins(items: list[dict[str, Any]]) -> str:
    """Return plug-ins, each in a line."""
    return "\n".join(
        f"{item['name']}: {counted(item['calls'], 'call')}, {counted(item['starts'], 'start')}, "
        + in_a_line(item["trouble"] or f"pid {item['pid']}")
        for item in items
    )


def alerts(found: dict[str, Any]) -> str:
    """Return what is wrong, silenced, and how channels do, in lines."""
    lines = [
        f"{moment(item['since'])} {in_a_line(item['summary'])}"
        + (", over" if item["over"] else "")
        + ("" if item["sent"] else ", not told")
        for item in found["alerts"]
    ]
    lines += [
        f"silenced until {moment(until)}: {name or 'everything'}"
        for name, until in found["silences"].items()
    ]
    lines += [
        f"channel {item['name']} ({item['type']}): {item['delivered']} delivered"
        + (f", {in_a_line(item['trouble'])}" if item["trouble"] else "")
        for item in found["channels"]
    ]
    return "\n".join(lines) or "nobody is told: there is no channel"


def moment(at: float) -> str:
    """Return a moment as the local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
