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
FILES = 8
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class Events:
    """Numbered events; the numbers go on over restarts of the supervisor.

    The file is moved to `.1`, that one to `.2` and so on at a megabyte: ``files`` of them are kept.
    """

    def __init__(
        self, path: str, on_event: Callable[[Mapping[str, object]], None] = lambda entry: None,
        files: int = FILES,
    ) -> None:  # fmt: skip
        self.path = path
        self.files = files
        self._on_event = on_event
        self.ring: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._noted: deque[dict[str, Any]] = deque()
        for name in (f"{path}.1", path):
            self.ring.extend(read_events(name, 200 * KEPT)[-KEPT:])
        self.seq = self.ring[-1]["seq"] if self.ring else 0
        self._fd = -1
        self._open()

    def add(self, event: str, process: str | None = None, **facts: object) -> dict[str, Any]:
        """Record an event and write it; facts that are None are left out."""
        entry = self.note(event, process, **facts)
        self.write()
        return entry

    def note(self, event: str, process: str | None = None, **facts: object) -> dict[str, Any]:
        """Record an event that is written, and told, with the next `add` or `write`."""
        self.seq += 1
        entry: dict[str, Any] = {"seq": self.seq, "at": round(time.time(), 3), "event": event}
        if process is not None:
            entry["process"] = process
        entry.update((key, value) for key, value in facts.items() if value is not None)
        self.ring.append(entry)
        self._noted.append(entry)
        return entry

    def write(self) -> None:
        """Write what was noted, in its order, and tell of it."""
        while self._noted:
            entry = self._noted.popleft()
            self._append(_ENCODER.encode(entry).encode() + b"\n")
            self._on_event(entry)

    def since(self, seq: int, limit: int, at: float = 0.0) -> list[dict[str, Any]]:
        """Return the newest events after seq and not before a time, oldest first."""
        found = [entry for entry in self.ring if entry["seq"] > seq and entry["at"] >= at]
        if len(found) == len(self.ring) < limit:
            # What is older is in the files alone.
            first = self.ring[0]["seq"] if self.ring else self.seq + 1
            found = [*self._before(first, limit - len(found), seq, at), *found]
        return found[-limit:] if limit > 0 else []

    def _before(self, first: int, limit: int, seq: int, at: float) -> list[dict[str, Any]]:
        """Return the same of those that are older than the first one in memory."""
        found: list[dict[str, Any]] = []
        for name in self._names():
            entries = read_events(name, FILE_LIMIT)
            older = [item for item in entries if item["seq"] < first]
            wanted = [item for item in older if item["seq"] > seq and item["at"] >= at]
            found = wanted + found
            if len(found) >= limit or len(wanted) < len(older):
                break
        return found[-limit:]

    def _names(self) -> list[str]:
        return [self.path, *(f"{self.path}.{number}" for number in range(1, self.files))]

    def _append(self, line: bytes) -> None:
        try:
            if os.fstat(self._fd).st_size + len(line) > FILE_LIMIT:
                self._rotate()
            os.write(self._fd, line)
        except OSError:
            pass  # a full disk must not stop supervision; the ring still has the event

    def _rotate(self) -> None:
        names = self._names()
        for newer, older in zip(names[-2::-1], names[:0:-1], strict=True):
            if os.path.exists(newer):
                os.replace(newer, older)
        if len(names) == 1:
            os.unlink(self.path)
        os.close(self._fd)
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(self.path, flags, 0o640)


def read_events(path: str, most: int) -> list[dict[str, Any]]:
    """Return the events in the last bytes of a file; what is none is left out."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most))
            lines = file.read(most).split(b"\n")
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
            found.append({**entry, "seq": int(entry["seq"]), "at": float(entry["at"])})
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue  # the cut first line of the tail, or what a power cut left
    return found


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
        # What "exit" says the reason says in words.
        skip = ("seq", "at", "event", "process", "from", "to", "reason", "exit")
        facts = [f"{key}={value}" for key, value in entry.items() if key not in skip]
        reason = f": {entry['reason']}" if "reason" in entry else ""
        line = " ".join([f"{subject}: {head}", *facts]) + reason
        self.write(line)
        self.also(line)
