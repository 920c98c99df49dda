"""What processes use, now and over the last day, for people."""

from __future__ import annotations

import json
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from process_supervisor.control.client import Client

    Samples = list[list[float]]

BARS = "▁▂▃▄▅▆▇█"
DAY, COLUMNS = 86_400, 72
CPU, MEMORY = 1, 2


def top(client: Client, by: str, as_json: bool) -> str:
    """Return a table of all that run, those that use the most first."""
    rows = []
    for item in client.status():
        if item["pid"] is None:
            continue
        day = client.history(item["name"])["samples"]
        hour = [sample for sample in day if sample[0] > time.time() - 3600]
        rows.append({
            "name": item["name"], "pid": item["pid"],
            "cpu_percent": item["cpu_percent"], "cpu_percent_hour": mean(hour, CPU),
            "cpu_percent_day": mean(day, CPU), "cpu_percent_most": most(day, CPU),
            "memory_bytes": item["memory_bytes"], "memory_bytes_hour": mean(hour, MEMORY),
            "memory_bytes_day": mean(day, MEMORY), "memory_bytes_most": most(day, MEMORY),
        })  # fmt: skip
    rows.sort(key=lambda row: -row["cpu_percent" if by == "cpu" else "memory_bytes"])
    return json.dumps(rows, indent=2) if as_json else table(rows)


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows of figures as columns: now, over an hour, over a day, and the day's most."""
    cells = [["NAME", "PID", "CPU", "1h", "24h", "MOST", "MEMORY", "1h", "24h", "MOST"]]
    cells += [[str(cell(key, value)) for key, value in row.items()] for row in rows]
    widths = [max(len(row[number]) for row in cells) for number in range(len(cells[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:],
                                                                           strict=True))])
        for row in cells
    )  # fmt: skip


def cell(key: str, value: float | None) -> object:
    """Return a figure with its unit."""
    if value is None:
        return "-"
    if key.startswith("cpu"):
        return f"{value:.1f}%"
    return megabytes(value) if key.startswith("memory") else value


def history(client: Client, name: str) -> str:
    """Return the last day of a process as two rows of bars, 20 minutes each."""
    samples: Samples = client.history(name)["samples"]
    if not samples:
        return f"{name}: nothing is known yet; a sample is taken each minute while it runs"
    lines = [
        f"{name}: {len(samples)} samples of the last 24 hours, each bar the most of 20 minutes"
    ]
    for word, column, unit in (("CPU", CPU, percent), ("memory", MEMORY, megabytes)):
        peak, average = most(samples, column) or 0.0, mean(samples, column) or 0.0
        lines += [f"{word:6} {bars(samples, column, time.time())}",
                  f"       mean {unit(average)}, most {unit(peak)}"]  # fmt: skip
    return "\n".join(lines)


def bars(samples: Samples, column: int, now: float) -> str:
    """Return a bar for each part of the day, a blank where it did not run."""
    parts: list[float | None] = [None] * COLUMNS
    for sample in samples:
        number = int((sample[0] - (now - DAY)) / DAY * COLUMNS)
        if 0 <= number < COLUMNS:
            parts[number] = max(parts[number] or 0.0, sample[column])
    peak = max((part for part in parts if part is not None), default=0.0) or 1.0
    return "".join(" " if p is None else BARS[min(7, int(p / peak * 7.99))] for p in parts)


def mean(samples: Samples, column: int) -> float | None:
    """Return the mean of a column, None without samples."""
    return sum(sample[column] for sample in samples) / len(samples) if samples else None


def most(samples: Samples, column: int) -> float | None:
    """Return the most of a column, None without samples."""
    return max((sample[column] for sample in samples), default=None)


def percent(value: float) -> str:
    """Return a share of one CPU."""
    return f"{value:.1f} %"


def megabytes(value: float) -> str:
    """Return bytes as megabytes."""
    return f"{value / 1e6:.1f} MB"
