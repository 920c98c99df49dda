"""How soon a process may start again, where its manager knows no pause and no end."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from moorage.common.files import write_atomically
from moorage.common.readers import read_note
from moorage.release.layout import Layout
from moorage.release.native import Process


@dataclass(frozen=True)
class Pace:
    """Starts of a process: how many were not its first, and the moments of the latest (Unix, s).

    ``until`` is when it may start that is waiting now, ``pid`` who waits; ``refused`` says why it
    is not started any more.
    """

    restarts: int = 0
    starts: tuple[float, ...] = ()
    until: float = 0.0
    pid: int = 0
    refused: str = ""


def pace_path(path: Path) -> Path:
    """Return where the starts of a process are noted, by its file /opt/STACK/processes/UNIT."""
    return Layout.of(path.parents[1].name).run / "launch" / path.name


def read_pace(path: Path) -> Pace:
    """Return what was noted of a process; nothing where that is not to be read."""
    found: dict[str, Any] = read_note(path)
    try:
        return Pace(**{**found, "starts": tuple(found.get("starts", ()))})
    except TypeError:
        return Pace()


def write_pace(path: Path, pace: Pace) -> None:
    """Note it."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(pace)) + "\n")


def next_start(process: Process, pace: Pace, now: float, pid: int) -> Pace:
    """Return what holds for a start that is asked for ``now``.

    Its pause doubles with each start, until it has run for the process's window. One that was given
    up before begins anew: a person has started it.
    """
    if pace.refused or not pace.starts:
        return Pace(0, (now,))
    recent = list(pace.starts) if now - pace.starts[-1] < process.window else []
    if process.attempts is not None and len(recent) > process.attempts:
        reason = f"it has ended {len(recent)} times without a run of {process.window:g} s"
        return Pace(pace.restarts, tuple(recent), refused=reason)
    pause = _pause(process, recent)
    restarts = pace.restarts + 1
    return Pace(
        restarts, (*recent[-max(_KEPT, process.attempts or 0) :], now + pause), now + pause, pid
    )


# Enough of them to know the longest pause.
_KEPT = 64


def _pause(process: Process, recent: Sequence[float]) -> float:
    if not recent:
        return 0.0
    return min(process.delay * 2.0 ** min(len(recent) - 1, 30), process.delay_max)


def wait(pace: Pace) -> None:
    """Wait until it may start; a signal ends it."""
    time.sleep(max(0.0, pace.until - time.time()))
