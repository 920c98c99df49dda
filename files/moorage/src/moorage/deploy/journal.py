"""The progress of a rollout: one JSON line an event, in a file that outlives every connection."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from moorage.common.readers import objects

SPARE = ".spare"
_SPARE_BYTES = 64 << 10


class Journal:
    """Appends events to a file. An event has ``at`` (Unix seconds), ``event`` and its own fields.

    ``phases`` gathers how long each phase took, in seconds.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not buffered: who follows the file sees an event the moment it happens.
        self._out = path.open("ab", buffering=0)
        self._torn = False
        self._spare = path.with_name(f".{path.name}{SPARE}")
        self._keep_room()
        self.phases: dict[str, float] = {}

    def note(self, event: str, **fields: Any) -> None:
        """Append one event. A full disk costs the event, and not the rollout that it tells of."""
        text = json.dumps({"at": round(time.time(), 3), "event": event, **fields}) + "\n"
        line = (b"\n" if self._torn else b"") + text.encode()
        with suppress(OSError):
            self._torn = True
            self._torn = self._out.write(line) != len(line)

    def end(self, event: str, **fields: Any) -> None:
        """Append the last event, for which there is room whatever has filled the disk since."""
        with suppress(OSError):
            self._spare.unlink(missing_ok=True)
        self.note(event, **fields)

    def _keep_room(self) -> None:
        with suppress(OSError), self._spare.open("wb") as out:
            os.posix_fallocate(out.fileno(), 0, _SPARE_BYTES)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Note begin, end and duration of a phase; a failed one is noted as failed."""
        began = time.monotonic()
        self.note("phase", name=name)
        outcome = "failed"
        try:
            yield
            outcome = "done"
        finally:
            seconds = round(time.monotonic() - began, 3)
            self.phases[name] = round(self.phases.get(name, 0.0) + seconds, 3)
            self.note("phase-end", name=name, outcome=outcome, seconds=seconds)


def follow(path: Path, alive: Any, poll_seconds: float = 0.05) -> Iterator[dict[str, Any]]:
    """Yield the events of a journal as they come, until ``alive()`` is false and all is read."""
    offset = 0
    while True:
        ended = not alive()
        if path.exists():
            with path.open("rb") as source:
                source.seek(offset)
                complete, newline, _ = source.read().rpartition(b"\n")
            offset += len(complete) + len(newline)
            for event in objects(complete.splitlines()):
                if isinstance(event.get("event"), str):
                    yield event
        if ended:
            return
        time.sleep(poll_seconds)
