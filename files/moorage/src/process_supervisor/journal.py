"""The supervisor's own log: one line an event, for people."""

from __future__ import annotations

import contextlib
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Journal:
    """Appends to log_file, or to standard error where none is configured."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._fd = 2
        self.reopen()

    def reopen(self) -> None:
        """Open the file anew; lines go to standard error as long as that does not work."""
        if self.path is None:
            return
        old = self._fd
        try:
            os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(self.path, flags, 0o640)
        except OSError as error:
            self._fd = 2
            print(f"supervisor: cannot write {self.path}: {error.strerror}", file=sys.stderr)
        if old not in (2, self._fd):
            os.close(old)

    def write(self, text: str) -> None:
        """Write one line with the time in front."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        # What others wrote shall do nothing to the terminal of whoever reads this file.
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
        line = f"{stamp}.{int(now * 1000) % 1000:03d}Z {text}\n"
        with contextlib.suppress(OSError):  # a full disk must not stop supervision
            os.write(self._fd, line.encode("utf-8", "replace"))

    def event(self, entry: Mapping[str, object]) -> None:
        """Write an event as a line."""
        subject = entry.get("process", "supervisor")
        head = f"{entry['from']} -> {entry['to']}" if "to" in entry else str(entry["event"])
        skip = ("seq", "at", "event", "process", "from", "to", "reason")
        facts = [f"{key}={value}" for key, value in entry.items() if key not in skip]
        reason = f": {entry['reason']}" if "reason" in entry else ""
        self.write(" ".join([f"{subject}: {head}", *facts]) + reason)
