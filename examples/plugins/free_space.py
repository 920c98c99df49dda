"""A health check: is there room where a process writes?"""

from __future__ import annotations

import shutil
from typing import Any


class FreeSpace:
    """Well as long as a directory has so many MiB left."""

    def __init__(self, directory: str, least_mb: int) -> None:
        self.directory = directory
        self.least_mb = least_mb

    def check_health(self, process_name: str, process_info: dict[str, Any]) -> str | None:
        """Return what is wrong, or nothing. The status of the process is in process_info."""
        free = shutil.disk_usage(self.directory).free >> 20
        if free < self.least_mb:
            return f"{self.directory} has {free} MiB left, {process_name} needs {self.least_mb}"
        return None
