"""What goes wrong at start, as the build says; the rest of the faults show in answers."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from .build import FAULT, FAULTS, STATE

LICENCE = Path("/run/secrets/harbour_licence")


def at_start() -> None:
    """Fail now, or later, where this build is meant to."""
    if FAULT and FAULT not in FAULTS:
        sys.exit(f"harbour: no fault is called {FAULT!r}")
    if FAULT == "crash":
        raise RuntimeError("this build crashes at start")
    if FAULT == "doomed" and (STATE / "doomed").exists():
        sys.exit("harbour: this host is doomed")
    if FAULT == "exits":
        print("harbour: waiting for a licence server", file=sys.stderr)
        time.sleep(5)
        print("harbour: no licence server answered", file=sys.stderr)
        sys.exit(4)
    if FAULT == "secret" and not LICENCE.exists():
        sys.exit(f"harbour: there is no secret {LICENCE}")
    if FAULT == "memory":
        # A megabyte at a time, written to: only then is it taken.
        hoard = []
        while True:
            hoard.append(bytearray(os.urandom(1024)) * 1024)
    if FAULT == "dies":
        threading.Timer(5, lambda: os._exit(5)).start()
