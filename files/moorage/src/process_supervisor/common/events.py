"""What happened: a bounded ring in memory, an audit trail of JSON lines, a log for people."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

KEPT = 500
FILE_LIMIT = 1 << 20
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class Events:
    """Numbered events; the numbers go on over restarts of the supervisor.

    The file is moved to `.1` at a megabyte, so that the trail takes two megabytes at most.
    """

    def __init__(
        self, path: str, on_event: Callable[[Mapping[str, object]], None] = lambda entry: None
    ) -> None:
        self.path = path
        self._on_event = on_event
        self.ring: deque[dict[str, Any]] = deque(maxlen=KEPT)
        for name in (f"{path}.1", path):
            self._load(name)
        self.seq = self.ring[-1]["seq"] if self.ring else 0
        self._fd = -1
        self._open()

    def add(self, event: str, process: str | None = None, **facts: object) -> dict[str, Any]:
        """Record an event; facts that are None are left out."""
        self.seq += 1
        entry: dict[str, Any] = {"seq": self.seq, "at": round(time.time(), 3), "event": event}
        if process is not None:
            entry["process"] = process
        entry.update((key, value) for key, value in facts.items() if value is not None)
        self.ring.append(entry)
        self._on_event(entry)
        self._append(_ENCODER.encode(entry).encode() + b"\n")
        return entry

    def since(self, seq: int, limit: int) -> list[dict[str, Any]]:
        """Return the newest events after seq, oldest first."""
        found = [entry for entry in self.ring if entry["seq"] > seq]
        return found[-limit:] if limit > 0 else []

    def _append(self, line: bytes) -> None:
        try:
            if os.fstat(self._fd).st_size + len(line) > FILE_LIMIT:
                os.replace(self.path, f"{self.path}.1")
                os.close(self._fd)
                self._open()
            os.write(self._fd, line)
        except OSError:
            pass  # a full disk must not stop supervision; the ring still has the event

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(self.path, flags, 0o640)

    def _load(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 200 * KEPT))
                lines = file.read().split(b"\n")
        except OSError:
            return
        for line in lines:
            try:
                entry = json.loads(line)
                self.ring.append({**entry, "seq": int(entry["seq"])})
            except (ValueError, KeyError, TypeError):
                continue  # the cut first line of the tail, or what a power cut left


class Journal:
    """The log for people, a line an event: log_file, or standard error where there is none."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        # Who else takes in what happens.
        self.also: Callable[[str], None] = lambda text: None
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
        if not text.isprintable():
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
        line = " ".join([f"{subject}: {head}", *facts]) + reason
        self.write(line)
        self.also(line)
