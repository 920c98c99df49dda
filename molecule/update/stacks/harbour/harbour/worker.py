"""The service that must never be there twice: it proves it by a lock and by heartbeats.

/state/heartbeats.jsonl has a line every 50 ms: {"at": TIME, "run": ID, "version": TEXT}, and one
with "end": true. Who finds the lock taken writes a line to /state/overlaps.jsonl and ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
import uuid
from threading import Event
from typing import Any

from .build import STATE, WORKER_VERSION

RUN = uuid.uuid4().hex[:12]
EVERY = 0.05


def note(file: str, **more: Any) -> None:
    """Append a line; short ones are written whole or not at all."""
    line = json.dumps({"at": round(time.time(), 4), "run": RUN, "version": WORKER_VERSION, **more})
    with (STATE / file).open("a", encoding="utf-8") as notes:
        notes.write(f"{line}\n")


def main() -> int:
    """Work until told to stop."""
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    lock = os.open(STATE / "worker.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("overlaps.jsonl")
        print("harbour: another worker is at work", file=sys.stderr)
        return 1
    while not stopping.wait(EVERY):
        note("heartbeats.jsonl")
    note("heartbeats.jsonl", end=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
