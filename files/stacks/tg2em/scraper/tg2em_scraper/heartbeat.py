"""The file by which the scraper shows that it is getting on, and the check that reads it.

Standard library only: the health check runs every few seconds and must be cheap.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

DEFAULT_DATA_DIR = Path("/var/lib/scraper")
FILE_NAME = "heartbeat.json"
# A page with all its retries beats in between; the longest single step is a minute.
STALE_AFTER = 150.0


def data_dir(environ: Mapping[str, str]) -> Path:
    """The directory that SCRAPER_DATA names: heartbeat and Telegram session are there."""
    return Path(environ.get("SCRAPER_DATA", "") or DEFAULT_DATA_DIR)


class Heartbeat:
    """Written at most once in `every` seconds, at once when the text changes."""

    def __init__(
        self, folder: Path, every: float = 10.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = folder / FILE_NAME
        self._every = every
        self._clock = clock
        self._text = ""
        self._at = 0.0

    def beat(self, text: str | None = None) -> None:
        """Say that all goes on, and with what; without a text, with the same as before."""
        now = self._clock()
        if (text is None or text == self._text) and 0 <= now - self._at < self._every:
            return
        self._text = self._text if text is None else text
        self._at = now
        data = {"pid": os.getpid(), "at": now, "doing": self._text}
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
        temporary.replace(self._path)


def check(folder: Path, now: float | None = None) -> tuple[bool, str]:
    """Whether the scraper is alive and getting on, and a sentence that says what it does.

    Waiting for a database that is down is healthy: a restart would not bring it back.
    """
    try:
        data = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        pid, at, doing = int(data["pid"]), float(data["at"]), str(data["doing"])
    except FileNotFoundError:
        return False, f"no heartbeat in {folder}: the scraper has not started"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return False, f"the heartbeat in {folder} cannot be read: {type(error).__name__}"
    age = (time.time() if now is None else now) - at
    if not Path(f"/proc/{pid}").exists():
        return False, f"process {pid} is gone; its last word {age:.0f} s ago: {doing}"
    if age > STALE_AFTER:
        return False, f"no progress for {age:.0f} s; it was: {doing}"
    return True, doing
