"""The program that a controller starts on a host: builds in the background, tells how far it is.

``start DIRECTORY`` returns at once and the build outlives the connection; ``follow DIRECTORY
OFFSET`` prints what happened since, waiting some seconds for news. DIRECTORY is an unpacked bundle.
``held STACK REFERENCE…`` prints those that are environments of the stack, one a line.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from moorage.common.lock import take
from moorage.images.builder import Builder
from moorage.images.bundle import RECIPE
from moorage.images.environment import is_complete
from moorage.images.errors import ImageError
from moorage.images.pull import REGISTRIES, Limits, Puller, client_config
from moorage.release.layout import Layout

# One build at a time on a host: another controller's waits, and then finds its images there. Who
# holds it writes into it how far he is, for those who wait.
_LOCK = Path("/run/lock/moorage-images.lock")
_PROGRESS = "progress.jsonl"
_PATIENCE = 5.0
_LOOK_SECONDS = 0.2
_SILENCE_SECONDS = 30.0
_TOLD = {
    "building": "building",
    "pulling": "pulling",
    "step": "{text}",
    "built": "built in {seconds} s",
    "pulled": "pulled in {seconds} s",
    "there": "is there",
    "not-had": "{text}",
}


class Journal:
    """What happened so far, one JSON object a line; written by the build, read by followers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def append(self, event: dict[str, Any]) -> None:
        """Add an event; any thread may."""
        # A full disk costs the event; it ends the build by itself, and `follow` tells of it.
        with self._lock, suppress(OSError), self.path.open("a", encoding="utf-8") as output:
            output.write(json.dumps(event) + "\n")

    def read(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """Return the whole events from a byte offset on, and the offset behind them."""
        if not self.path.exists():
            return [], offset
        with self.path.open("rb") as source:
            source.seek(offset)
            data = source.read()
        data = data[: data.rfind(b"\n") + 1]
        return [event for line in data.splitlines() if (event := _event(line))], offset + len(data)


def _event(line: bytes) -> dict[str, Any] | None:
    """Return the event in a line, None for one that was cut off on a full disk."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "event" in found else None


def start(directory: Path) -> None:
    """Start the build of a bundle in a session of its own."""
    for name in ("ca", REGISTRIES):
        if (path := directory / name).exists():
            path.chmod(0o600)
    # The child holds the lock as long as it lives, and nobody has to remember its PID.
    alive = os.open(directory / "alive", os.O_CREAT | os.O_RDWR, 0o600)
    if not take(alive):
        return
    with (directory / "output").open("wb") as output:
        subprocess.Popen(
            [sys.executable, "-m", "moorage.images.host", "run", str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=(alive,),
        )


def run(directory: Path) -> None:
    """Build a bundle: the background process."""
    journal = Journal(directory / _PROGRESS)
    recipe = json.loads((directory / RECIPE).read_text(encoding="utf-8"))
    try:
        with _LOCK.open("a") as lock:
            _take_turn(lock.fileno(), journal)
            shared = Journal(_LOCK)

            def tell(event: dict[str, Any]) -> None:
                journal.append(event)
                with suppress(OSError):
                    shared.append(event)

            try:
                os.truncate(lock.fileno(), 0)
                _make(directory, tell, recipe)
            finally:
                os.truncate(lock.fileno(), 0)
        journal.append({"event": "done", "error": ""})
    except (ImageError, OSError, subprocess.SubprocessError) as error:
        journal.append({"event": "done", "error": str(error)})
    finally:
        # The controller removes the directory, unless it has gone: sources may be private.
        for name in ("ca", REGISTRIES):
            (directory / name).unlink(missing_ok=True)
        shutil.rmtree(directory / "trees", ignore_errors=True)


def _make(directory: Path, tell: Callable[[dict[str, Any]], None], recipe: dict[str, Any]) -> None:
    """Pull, then build: what is built may start from what was pulled."""
    file = directory / REGISTRIES
    registries = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    with client_config(registries) as environment:
        builder = Builder(
            directory, tell, recipe, environment=environment, registries=sorted(registries)
        )
        builder.logs.mkdir(parents=True, exist_ok=True)
        if recipe.get("pulls"):
            log = builder.logs / "pull.log"
            log.write_text("")
            Puller(
                tell,
                log,
                environment,
                sorted(registries),
                recipe.get("mirrors") or {},
                Limits(**recipe.get("limits") or {}),
            ).pull(recipe["pulls"])
        builder.build(recipe["images"])


def _take_turn(lock: int, journal: Journal) -> None:
    """Wait for the other builds on this host, and tell how far they are."""
    shared, offset, began = Journal(_LOCK), 0, time.monotonic()
    told = -_SILENCE_SECONDS
    while True:
        if take(lock):
            return
        waited = time.monotonic() - began
        if waited - told >= _SILENCE_SECONDS:
            since = f" for {waited:.0f} s now" if waited >= _SILENCE_SECONDS else ""
            journal.append({"event": "waiting", "text": f"for another build on this host{since}"})
            told = waited
        heard, offset = pass_on(shared, offset, journal)
        told = waited if heard else told
        time.sleep(_LOOK_SECONDS)


def pass_on(shared: Journal, offset: int, journal: Journal) -> tuple[bool, int]:
    """Tell in ``journal`` what the build that holds the lock has written from an offset on.

    Returns whether there was something, and the offset behind it.
    """
    size = shared.path.stat().st_size
    # Another one has begun to write from the start.
    offset = offset if offset <= size else 0
    try:
        events, behind = shared.read(offset)
        # Of what had happened before there is only the last to say.
        for event in events if offset else events[-1:]:
            text = _TOLD[event["event"]].format(**event)
            journal.append({"event": "elsewhere", "ref": str(event["ref"]), "text": text})
    except (ValueError, LookupError, TypeError):
        return False, size
    return bool(events), behind


def follow(directory: Path, offset: int, patience: float = _PATIENCE) -> dict[str, Any]:
    """Return the events from ``offset`` on, at the latest after ``patience`` seconds."""
    journal = Journal(directory / _PROGRESS)
    deadline = time.monotonic() + patience
    while True:
        # Asked first: a process that ends in between has written its last event before.
        alive = _is_alive(directory)
        events, behind = journal.read(offset)
        if events or not alive or time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    if not alive and not events:
        output = (directory / "output").read_text(encoding="utf-8", errors="replace")
        left = shutil.disk_usage(directory).free >> 10
        message = (
            f"the build died without a word ({left} KiB left in {directory}): {output[-2000:]}"
        )
        events = [{"event": "done", "error": message}]
    return {"events": events, "offset": behind}


def _is_alive(directory: Path) -> bool:
    with (directory / "alive").open("rb") as lock:
        return not take(lock.fileno(), shared=True)


def main(argv: list[str]) -> int:
    """Run one of the verbs."""
    verb, directory = argv[0], Path(argv[1])
    if verb == "held":
        layout = Layout.of(argv[1])
        print("\n".join(ref for ref in argv[2:] if is_complete(layout.environment(ref))))
    elif verb == "start":
        start(directory)
    elif verb == "run":
        run(directory)
    else:
        print(json.dumps(follow(directory, int(argv[2]))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
