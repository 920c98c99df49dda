"""An event listener: a table of how long each process ran, for a spreadsheet."""

from __future__ import annotations

import csv
from typing import Any


class RunTimes:
    """Adds a line to a file whenever a process has ended."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.started: dict[str, float] = {}

    def on_event(self, event: dict[str, Any]) -> None:
        """Take note of starts and ends."""
        if event["event"] != "state":
            return
        name = event["process"]
        if event["to"] == "RUNNING":
            self.started[name] = event["at"]
        elif name in self.started and event["from"] in ("RUNNING", "STOPPING"):
            if event["to"] == "STOPPING":
                return
            seconds = event["at"] - self.started.pop(name)
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow([name, round(seconds, 1), event.get("reason", "")])
