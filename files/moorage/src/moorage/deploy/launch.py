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
from dataclasses import asdict
from pathlib import Path
from typing import Any

from moorage.deploy.activate import Outcome, Request, activate
from moorage.deploy.journal import Journal, follow
from moorage.deploy.layout import Layout, write_atomically

_JOURNALS_KEPT = 100

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
    asked = layout.run / f"activate-{token}.json"
    journal = layout.journals / f"{token}.jsonl"
    _forget_old_journals(layout.journals)
    write_atomically(asked, json.dumps({**asdict(request), "journal": str(journal)}), 0o600)
    _start_unit(unit, [*_self_argv(layout), "run-activation", str(asked)])
    outcome = None
    for event in follow(journal, lambda: _active(unit)):
        listener(event)
        if event["event"] == "outcome":
            outcome = Outcome(**{k: v for k, v in event.items() if k not in ("at", "event")})
    if outcome is None:
        raise LaunchError(
            f"{unit} ended without an outcome: see `journalctl -u {unit}` and {journal}"
        )
    return outcome


def run_activation(asked: Path, base: Path, run: Path) -> Outcome:
    """Do what the request file asks for: the inside of the transient unit."""
    fields = json.loads(asked.read_text())
    asked.unlink()
    journal = Journal(Path(fields.pop("journal")))
    request = Request(**fields)
    return activate(request, Layout.of(request.stack, base, run), journal)


def _self_argv(layout: Layout) -> list[str]:
    where = ["--base", str(layout.base.parent), "--run", str(layout.run.parent)]
    return [sys.executable, "-P", "-m", "moorage.cli", *where]


def _forget_old_journals(directory: Path) -> None:
    # Their names begin with the time, so the oldest come first.
    for journal in sorted(directory.glob("*.jsonl"))[: -_JOURNALS_KEPT + 1]:
        journal.unlink(missing_ok=True)


def _start_unit(unit: str, argv: list[str]) -> None:
    command = ["systemd-run", "--quiet", "--collect", f"--unit={unit}", "--service-type=exec"]
    # The engine's own limits apply to containers; the unit needs only its name and its journal.
    command += [f"--setenv=PYTHONPATH={os.environ.get('PYTHONPATH', '')}", *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        raise LaunchError(f"systemd-run could not start {unit}: {done.stderr.strip()}")


def _active(unit: str) -> bool:
    done = subprocess.run(
        ["systemctl", "is-active", unit], capture_output=True, text=True, check=False, timeout=30
    )
    return done.stdout.strip() in ("active", "activating", "deactivating")


def _wait_for_other(unit: str, request: Request) -> None:
    deadline = time.monotonic() + request.lock_wait
    while _active(unit):
        if time.monotonic() >= deadline:
            raise LaunchError(
                f"{unit} is still at work on this host (an earlier run that lost its connection, "
                f"or a colleague): follow it with `journalctl -fu {unit}`, or wait longer with "
                f"--wait SECONDS"
            )
        time.sleep(0.2)
