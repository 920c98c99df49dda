"""The verbs of `moorage` that change or show releases: activate, rollback, receipt, lock …"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn

from moorage.backup import settings as backup_settings
from moorage.cli.caller import FAILED, OK, who
from moorage.cli.tables import release_rows, table
from moorage.common.files import discard
from moorage.common.lock import Locked, hold, is_held, moment
from moorage.common.readers import Damaged, read_note, read_object
from moorage.common.text import say
from moorage.deploy import activate as activation
from moorage.deploy.control import UnknownService
from moorage.deploy.drivers.registry import driver
from moorage.deploy.encryption import forget
from moorage.deploy.execute import ExecuteError, command_in
from moorage.deploy.foreign import remove_tree
from moorage.deploy.launch import LaunchError, launch
from moorage.deploy.release import (
    Release,
    ReleaseError,
    history,
    list_releases,
    previous_release,
    read_release,
    readable_release,
)
from moorage.deploy.removal import remove
from moorage.deploy.request import Outcome, Request
from moorage.deploy.reservation import Reservation, admit, break_reservation, reserve
from moorage.deploy.runtimes.registry import runtime
from moorage.probe.receipt import ReceiptError, readable_line, verify_receipt
from moorage.release.layout import Layout, known_stacks, release_names
from moorage.release.names import RECEIPT

FAILURES = (
    *activation.FAILURES,
    Damaged,
    ExecuteError,
    LaunchError,
    Locked,
    ReceiptError,
    UnknownService,
)
PUBLIC_KEY = Path("/opt/moorage/keys/receipt.pub")


def layout_of(args: argparse.Namespace) -> Layout:
    """Return the layout of the stack that was named; raises UnknownService for one not here."""
    stacks = known_stacks(args.base)
    if args.stack not in stacks:
        known = ", ".join(stacks) or "none yet"
        raise UnknownService(f"no stack {args.stack!r} is deployed here (deployed: {known})")
    return Layout.of(args.stack, args.base, args.run)


def interrupted(layout: Layout) -> str:
    """Return what to say of a rollout that is under way or was cut off; "" when there is none."""
    if not os.path.lexists(layout.marker):
        return ""
    marker = read_note(layout.marker)
    what = f"rollout of release {marker.get('release')} ({marker.get('purpose')})"
    try:
        since = moment(float(marker["since"]))
    except (KeyError, TypeError, ValueError):
        since = "some time"
    if is_held(layout.lock):
        return f"{what} under way since {since}"
    return f"{what} since {since} was interrupted: the next activation recovers"


# -- releases -------------------------------------------------------------------------------------


def _releases(args: argparse.Namespace) -> int:
    layout = layout_of(args)
    running = readable_release(layout)
    activated, runs = history(layout), runtime(layout)
    rows = [
        {
            "release": release.id,
            "version": release.manifest.version,
            "current": running is not None and release.id == running.id,
            "topology": release.topology,
            "activated": [h["at"] for h in activated if h["release"] == release.id],
            "outcome": _last_outcome(release),
            "missing_images": runs.missing(release.images),
        }
        for release in list_releases(layout)
    ]
    print(json.dumps(rows, indent=2) if args.json else table(release_rows(rows)))
    for trouble in _unreadable(layout):
        say(f"moorage: {trouble}", sys.stderr)
    return OK


def _last_outcome(release: Release) -> str:
    try:
        return str((read_object(release.path / RECEIPT) or {}).get("outcome", ""))
    except Damaged:
        return "receipt damaged"


def _unreadable(layout: Layout) -> list[str]:
    """Return what is wrong with releases that cannot be shown."""
    found = []
    for name in release_names(layout.releases):
        try:
            read_release(layout, name)
        except ReleaseError as trouble:
            found.append(str(trouble))
    return found


def _activate(args: argparse.Namespace) -> int:
    given = {f.name: getattr(args, f.name) for f in fields(Request) if hasattr(args, f.name)}
    given["restart"] = tuple(given.get("restart", ()))
    return _launch(Request(**given), args, (lambda _: None) if args.json else _say)


def _launch(
    request: Request, args: argparse.Namespace, listener: Callable[[dict[str, Any]], None]
) -> int:
    if request.action == "rollback":
        request = going_back(request, args)
    layout = Layout.of(request.stack, args.base, args.run)
    return _report(launch(replace(request, who=who()), layout, listener), args)


def going_back(request: Request, args: argparse.Namespace) -> Request:
    """Return a request of a rollback with the release that is meant."""
    args.stack = request.stack
    layout = layout_of(args)
    target = read_release(layout, request.release) if request.release else None
    return replace(request, release=(target or previous_release(layout)).id)


def _report(outcome: Outcome, args: argparse.Namespace) -> int:
    if args.json:
        print(json.dumps(outcome.to_dict()))
    else:
        print(f"{outcome.outcome}: release {outcome.release}")
        if outcome.receipt:
            say(_line(read_object(Path(outcome.receipt)) or {}))
    for line in (outcome.message, *outcome.warnings):
        if line:
            say(line, sys.stderr)
    return OK if outcome.ok else FAILED


def _say(event: dict[str, Any]) -> None:
    if event["event"] == "phase-end":
        print(f"{event['name']:<12} {event['outcome']} in {event['seconds']:.2f} s", flush=True)


def _receipt(args: argparse.Namespace) -> int:
    layout = layout_of(args)
    path = _receipt_path(layout, args.release)
    if args.verify:
        print(verify_receipt(path, PUBLIC_KEY))
        return OK
    receipt = read_object(path) or {}
    say(json.dumps(receipt, indent=2, ensure_ascii=False) if args.json else _line(receipt))
    return OK


def _line(receipt: dict[str, Any]) -> str:
    try:
        return readable_line(receipt)
    except (AttributeError, LookupError, TypeError, ValueError) as trouble:
        raise ReceiptError(f"this is no receipt that can be read: {trouble!r}") from None


def _receipt_path(layout: Layout, release: str) -> Path:
    """Return the newest receipt of a release, or of the whole stack: a failed one counts too."""
    if release:
        found = [read_release(layout, release).path / RECEIPT]
    else:
        found = list(layout.releases.glob(f"*/{RECEIPT}"))
    there = [path.resolve() for path in found if path.exists()]
    if not there:
        what = f"release {release}" if release else layout.stack
        raise ReceiptError(f"there is no receipt of {what}: nothing was rolled out that left one")
    # Their names begin with the time.
    return max(there, key=lambda path: path.name)


def _exec(args: argparse.Namespace) -> NoReturn:
    words = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not words:
        raise ExecuteError("exec needs a command: moorage exec STACK SERVICE COMMAND …")
    argv = command_in(layout_of(args), args.service, words, driver, terminal=sys.stdin.isatty())
    sys.stdout.flush()
    os.execvp(argv[0], argv)


# -- who may -----------------------------------------------------------------------------------


def _lock(args: argparse.Namespace) -> int:
    layout = layout_of(args)
    claim = Reservation(who(), socket.gethostname(), 0, time.time(), args.purpose)
    made = reserve(layout, claim)
    print(f"{layout.stack} is kept until `moorage unlock {layout.stack}`; token {made.token}")
    return OK


def _unlock(args: argparse.Namespace) -> int:
    layout = Layout.of(args.stack, args.base, args.run)
    if not layout.base.is_dir():
        layout = layout_of(args)
    holder = break_reservation(layout)
    if holder is None:
        print(f"nobody has reserved {layout.stack}")
    else:
        since = moment(holder.since)
        say(f"ended: {holder.who} held {layout.stack} since {since} for: {holder.purpose}")
    return OK


def _remove(args: argparse.Namespace) -> int:
    layout = layout_of(args)
    if args.data and args.confirm != layout.stack:
        raise ReleaseError(
            f"--data removes the data, secrets and backups of {layout.stack} for good: say that "
            f"you mean it with --confirm {layout.stack}"
        )
    with hold(layout.lock, "removal", who()):
        admit(layout)
        for name in remove(layout, images=True):
            print(f"removed {name}")
    # Nobody saves it any more, so its figures would raise alarms for good; a stack has no dot.
    told = f"{layout.stack}.*" if args.data else f"{layout.stack}.*prom"
    for path in backup_settings.STATE.glob(told):
        discard(path)
    if args.data:
        forget(layout)
        remove_tree(layout.base)
        print(f"removed {layout.base}")
    else:
        print(f"{layout.stack} is removed; its data, secrets and backups stay in {layout.base}")
    return OK


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "releases": _releases,
    "activate": _activate,
    "rollback": _activate,
    "receipt": _receipt,
    "exec": _exec,
    "lock": _lock,
    "unlock": _unlock,
    "remove": _remove,
}
