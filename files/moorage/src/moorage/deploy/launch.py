"""Start an activation so that it outlives who asked for it, and follow it to its end.

The work is done by a transient systemd unit. When the connection of the controller is lost, the
unit goes on; a run that comes later finds it by its name and follows it instead of starting a
second one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from moorage.common.files import write_atomically
from moorage.common.readers import read_object
from moorage.common.shape import make
from moorage.deploy.journal import SPARE, Journal, follow
from moorage.deploy.request import Outcome, Request
from moorage.release.layout import Layout
from moorage.release.manifest import DEFAULT_PIDS

_JOURNALS_KEPT = 100
_JOURNAL_BYTES = 256 << 10
_POLL_SECONDS = 0.02
# Asking systemd starts a process, which an update of two seconds would feel.
_ALIVE_SECONDS = 0.5
# A unit that has said its outcome takes a moment to end.
_ENDING_SECONDS = 5.0

Listener = Callable[[dict[str, Any]], None]


class LaunchError(Exception):
    """The unit did not start, or ended without an outcome; the message tells where to look."""


def unit_name(stack: str) -> str:
    """Return the name of the transient unit that activates releases of ``stack``."""
    return f"moorage-activate-{stack}.service"


def launch(request: Request, layout: Layout, listener: Listener) -> Outcome:
    """Activate in a transient unit and report every event to ``listener``.

    Raises LaunchError when systemd refuses or the unit dies without a word.
    """
    unit = unit_name(request.stack)
    if _active(unit):
        _wait_for_other(unit, request)
    token = f"{time.time_ns():x}-{os.getpid()}"
    layout.run.mkdir(parents=True, exist_ok=True)
    _require_room(layout.journals)
    asked = layout.run / f"activate-{token}.json"
    journal = layout.journals / f"{token}.jsonl"
    _forget_old_journals(layout.journals)
    write_atomically(asked, json.dumps({**asdict(request), "journal": str(journal)}), 0o600)
    _start_unit(unit, [*_self_argv(layout), "run-activation", str(asked)])
    return _outcome(journal, unit, listener)


def rejoin(release: str, layout: Layout, listener: Listener) -> Outcome:
    """Follow the newest activation to its end, for a caller that lost its connection to it.

    Raises LaunchError when that was of another release, or there was none.
    """
    journals = sorted(layout.journals.glob("*.jsonl"))
    if not journals:
        raise LaunchError(f"nothing was ever activated of {layout.stack} on this host")
    outcome = _outcome(journals[-1], unit_name(layout.stack), listener)
    if outcome.release != release:
        raise LaunchError(
            f"the activation of release {release} was not started; the last one was of "
            f"{outcome.release}"
        )
    return outcome


def _outcome(journal: Path, unit: str, listener: Listener) -> Outcome:
    for event in follow(journal, _Alive(unit), _POLL_SECONDS):
        listener(event)
        if event["event"] == "outcome":
            try:
                return make(Outcome, event)
            except ValueError as trouble:
                raise LaunchError(
                    f"{journal} holds no outcome of this version: {trouble}"
                ) from None
    raise LaunchError(
        f"{unit} ended without an outcome: see `journalctl -u {unit}` and {journal}"
        f"{_last_words(unit)}"
    )


def _last_words(unit: str) -> str:
    """Return what systemd and the unit have said last: killed by whom, or a traceback's end."""
    ask = ["journalctl", "--unit", unit, "--lines", "3", "--output", "cat", "--no-pager"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False, timeout=30)
    return "".join(f"\n  | {line}" for line in done.stdout.splitlines())


def run_activation(asked: Path, base: Path, run: Path) -> Outcome:
    """Do what the request file asks for: the inside of the transient unit."""
    # Here, since who only follows the unit starts in half the time without it.
    from moorage.deploy.activate import activate

    fields = read_object(asked)
    if fields is None:
        raise LaunchError(f"there is no request {asked}")
    asked.unlink()
    try:
        where = Path(fields.pop("journal"))
        request = make(Request, fields, strict=True)
    except (KeyError, TypeError, ValueError) as damage:
        raise LaunchError(f"{asked} is no request of this version: {damage}") from None
    return activate(request, Layout.of(request.stack, base, run), Journal(where))


def _require_room(directory: Path) -> None:
    """Raise LaunchError where no journal can be written: nobody would learn what became of it."""
    trial = directory / f".{os.getpid()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        trial.write_bytes(bytes(_JOURNAL_BYTES))
    except OSError as trouble:
        raise LaunchError(
            f"no journal can be written below {directory}: {trouble.strerror}. Nothing was "
            f"touched; make room there, then run it again"
        ) from None
    finally:
        trial.unlink(missing_ok=True)


def _self_argv(layout: Layout) -> list[str]:
    where = ["--base", str(layout.base.parent), "--run", str(layout.run.parent)]
    return [sys.executable, "-P", "-m", "moorage.cli", *where]


def _forget_old_journals(directory: Path) -> None:
    # Their names begin with the time, so the oldest come first.
    left = directory.glob(f".*{SPARE}")
    for journal in [*left, *sorted(directory.glob("*.jsonl"))[: -_JOURNALS_KEPT + 1]]:
        with suppress(OSError):
            journal.unlink(missing_ok=True)


def _start_unit(unit: str, argv: list[str]) -> None:
    command = ["systemd-run", "--quiet", "--collect", f"--unit={unit}", "--service-type=exec"]
    # The engine's own limits apply to containers; the unit needs only its name and its journal.
    command += [
        f"--property=TasksMax={DEFAULT_PIDS}",
        f"--setenv=PYTHONPATH={os.environ.get('PYTHONPATH', '')}",
        *argv,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        raise LaunchError(f"systemd-run could not start {unit}: {done.stderr.strip()}")


class _Alive:
    """Whether a unit is at work; asked of systemd no more often than is useful."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._next = time.monotonic() + _ALIVE_SECONDS

    def __call__(self) -> bool:
        if time.monotonic() < self._next:
            return True
        self._next = time.monotonic() + _ALIVE_SECONDS
        return _active(self._unit)


def _active(unit: str) -> bool:
    done = subprocess.run(
        ["systemctl", "is-active", unit], capture_output=True, text=True, check=False, timeout=30
    )
    return done.stdout.strip() in ("active", "activating", "deactivating")


def _wait_for_other(unit: str, request: Request) -> None:
    deadline = time.monotonic() + max(request.lock_wait, _ENDING_SECONDS)
    while _active(unit):
        if time.monotonic() >= deadline:
            raise LaunchError(
                f"{unit} is still at work on this host (an earlier run that lost its connection, "
                f"or a colleague): follow it with `journalctl -fu {unit}`, or wait longer with "
                f"--lock-wait SECONDS"
            )
        time.sleep(_POLL_SECONDS)
