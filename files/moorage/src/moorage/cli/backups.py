"""The verbs of `moorage` that make, list and restore backups."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from moorage.backup.faults import BackupError
from moorage.backup.noted import note_backup, proof_of, restore_of
from moorage.backup.proving import Proof, note, prove
from moorage.backup.restic import Restic
from moorage.backup.restoring import (
    choose,
    choose_tables,
    left_behind,
    restore,
    restore_secrets,
    resume,
    told_of,
)
from moorage.backup.retention import require_repository, retain
from moorage.backup.saving import back_up, sources
from moorage.backup.sets import Set, find_set, list_sets
from moorage.backup.settings import read_settings
from moorage.backup.work import Work, keep_others_away, sized
from moorage.cli.caller import FAILED, OK, who
from moorage.cli.releases import FAILURES, layout_of
from moorage.cli.tables import table, when
from moorage.common.lock import Locked
from moorage.common.readers import read_note
from moorage.common.text import say
from moorage.control.backups import read_noted
from moorage.deploy.drivers.registry import driver
from moorage.deploy.encryption import fault
from moorage.deploy.release import Release, current_release
from moorage.edge import Edge
from moorage.release.layout import Layout, known_stacks
from moorage.settings.stack import Settings

_PATIENCE_SECONDS = 900.0


def add_parsers(verbs: Any) -> None:
    """Add the verbs to the command line."""
    make = verbs.add_parser("backup", help="save a stack's data, secrets and release")
    _which(make)
    make.add_argument("--dry-run", action="store_true", help="only say what would be saved")

    proof = verbs.add_parser("prove", help="restore the newest backup beside, and compare it")
    _which(proof)
    proof.add_argument("--snapshot", default="", metavar="ID", help="not the newest backup")

    shown = verbs.add_parser("backups", help="list the backups of a stack")
    shown.add_argument("stack")
    shown.add_argument("--json", action="store_true")

    back = verbs.add_parser("restore", help="put a backup back, whole or in parts")
    back.add_argument("stack")
    back.add_argument("--snapshot", default="", metavar="ID", help="not the newest backup")
    back.add_argument(
        "--only", action="append", default=[], metavar="PART", help="such as volume/app, dump/db"
    )
    back.add_argument(
        "--table",
        action="append",
        default=[],
        metavar="SERVICE.TABLE",
        help="only the rows of this table, such as mysql.posts",
    )
    back.add_argument("--with-secrets", action="store_true", help="replace the secrets as well")
    back.add_argument(
        "--secrets-only", action="store_true", help="before a stack's first deploy to this host"
    )
    back.add_argument("--without-backup", action="store_true", help="what is there is lost anyway")
    back.add_argument("--dry-run", action="store_true", help="only say what would be overwritten")
    back.add_argument("--yes", action="store_true", help="overwrite without being asked")
    cut_off = back.add_mutually_exclusive_group()
    cut_off.add_argument(
        "--continue", action="store_true", dest="go_on", help="finish a restore that was cut off"
    )
    cut_off.add_argument("--back", action="store_true", help="undo a restore that was cut off")
    back.add_argument(
        "--gate-timeout",
        type=float,
        default=float(Settings.gate_timeout_seconds),
        metavar="SECONDS",
        help="within which the restored stack must be healthy",
    )
    back.add_argument("--json", action="store_true")


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stack", nargs="?")
    parser.add_argument("--all", action="store_true", help="every stack that runs here")
    parser.add_argument("--json", action="store_true", help="one document for each stack")


def _each(
    args: argparse.Namespace, act: Callable[[argparse.Namespace, Layout, Release], int]
) -> int:
    """Do something for the stack that was named, or for all that run here.

    What ails one of them keeps nobody from the next.
    """
    if bool(args.stack) == args.all:
        raise BackupError("name a stack, or say --all")
    if args.stack:
        layout = layout_of(args)
        return act(args, layout, _release(layout))
    status = OK
    for stack in known_stacks(args.base):
        layout = Layout.of(stack, args.base, args.run)
        try:
            if (release := current_release(layout)) is not None:
                status = max(status, act(args, layout, release))
        except (*FAILURES, BackupError) as trouble:
            say(f"moorage: {stack}: {trouble}", sys.stderr)
            status = FAILED
    return status


def _work(args: argparse.Namespace, layout: Layout) -> Work:
    """Return what works on a stack; what asks for JSON gets progress on standard error."""
    settings = read_settings()
    out = sys.stderr if args.json else sys.stdout

    def tell(text: str) -> None:
        # A terminal that is gone is no reason to stop half-way.
        with suppress(OSError):
            say(text, out)

    return Work(layout, settings, Restic(settings), driver, Edge.of(), tell)


def _end_in_order() -> None:
    """Have a stop of the unit, or of the machine, undo what was begun; a lost terminal does not."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _release(layout: Layout) -> Release:
    release = current_release(layout)
    if release is None or not release.manifest.complete:
        raise BackupError(f"no release of {layout.stack} runs here: deploy it first")
    return release


def _require_data(layout: Layout) -> None:
    if why := fault(layout):
        raise BackupError(why)


def _backup(args: argparse.Namespace, layout: Layout, release: Release) -> int:
    if args.dry_run:
        names = [source.name for source in sources(layout, release)]
        text = f"{layout.stack} would be saved: {', '.join(names)}"
        print(json.dumps({"stack": layout.stack, "parts": names})) if args.json else say(text)
        return OK
    _end_in_order()
    began = time.time()
    try:
        made, gone, trouble = _save(args, layout, release)
    except BaseException as failed:
        why = str(failed) if isinstance(failed, Exception) else "it was ended from outside"
        note_backup(layout.stack, began, None, why)
        raise
    note_backup(layout.stack, began, made)
    seconds = round(time.time() - began, 3)
    if args.json:
        print(json.dumps({**made.to_dict(), "seconds": seconds, "gone": gone, "warning": trouble}))
    else:
        say(f"backup {made.id} of {layout.stack}: {sized(made.bytes)} in {seconds:.1f} s")
        if gone:
            say(f"let go: {', '.join(gone)}")
    if trouble:
        say(f"moorage: {trouble}", sys.stderr)
    return OK


def _save(args: argparse.Namespace, layout: Layout, release: Release) -> tuple[Set, list[str], str]:
    """Make a backup; return it with the ids of those that went, and what ails that."""
    _require_data(layout)
    if left := left_behind(layout):
        raise BackupError(left)
    work = _work(args, layout)
    # Before anything is read: what is wrong with the repository is said at once.
    require_repository(work)
    # Nobody is there at night to begin it anew once an update has ended.
    wait_seconds = _PATIENCE_SECONDS if args.all else 0.0
    with keep_others_away(layout, "backup", wait_seconds) as be_heard:
        made = back_up(work, release, be_heard)
        try:
            return made, retain(work, socket.gethostname()), ""
        except BackupError as failed:
            # The backup is there all the same.
            return made, [], f"old backups could not be let go: {failed}"


def _prove(args: argparse.Namespace, layout: Layout, release: Release) -> int:
    began = time.time()
    _end_in_order()
    try:
        _require_data(layout)
        work = _work(args, layout)
        # Where this host makes none any more, another one's are no reason to be silent.
        host = "" if args.snapshot else socket.gethostname()
        found = find_set(work.restic, layout.stack, args.snapshot, host)
        proof = prove(work, release, found)
    except Locked:
        raise
    except (*FAILURES, BackupError) as trouble:
        # No backup, no repository, no password: that is what an alarm is for.
        proof = note(layout.stack, args.snapshot, 0.0, began, [], str(trouble))
    except BaseException as trouble:
        # Nobody has thought of it; the alarm is for that too.
        why = str(trouble) or type(trouble).__name__
        if not isinstance(trouble, Exception):
            why = "it was ended from outside"
        note(layout.stack, args.snapshot, 0.0, began, [], why)
        raise
    print(json.dumps(proof.to_dict())) if args.json else say(_proven(proof))
    if proof.message:
        say(f"moorage: {layout.stack}: {proof.message}", sys.stderr)
    return OK if proof.ok else FAILED


def _proven(proof: Proof) -> str:
    if proof.ok:
        return f"proven: backup {proof.backup} of {proof.stack} in {proof.seconds:.1f} s"
    last = f"; the newest that was proven is {proof.proven}" if proof.proven else ""
    return f"NOT proven: backup {proof.backup or '(none)'} of {proof.stack}{last}"


def _backups(args: argparse.Namespace) -> int:
    layout = Layout.of(args.stack, args.base, args.run)
    work = _work(args, layout)
    proof = read_noted(proof_of(layout.stack))
    last = read_note(restore_of(layout.stack))
    rows = [
        {
            "id": found.id,
            "created": found.created,
            "kind": found.kind,
            "host": found.host,
            "release": found.release,
            "bytes": found.bytes,
            "parts": found.parts,
            "proven": found.id == proof.get("proven"),
            "restored": found.id == last.get("backup") and last.get("outcome") == "restored",
            "failed": found.id == proof.get("backup") and not proof.get("ok"),
        }
        for found in list_sets(work.restic, layout.stack)
    ]
    if args.json:
        print(json.dumps(rows, indent=2))
    elif rows:
        print(table([["ID", "WHEN", "RELEASE", "SIZE", "PARTS", "PROVEN", ""], *map(_row, rows)]))
    else:
        print(f"there is no backup of {layout.stack}: `moorage backup {layout.stack}` makes one")
    if last and not args.json:
        say(_last_restore(last))
    return OK


def _last_restore(last: dict[str, Any]) -> str:
    """Say what the last restore on this host has come to, as it was noted."""
    finished = when(float(last.get("finished") or 0.0))
    parts = ", ".join(map(str, last.get("parts") or ["nothing"]))
    return (
        f"last restore: {last.get('outcome')} {finished} by {last.get('who')}, "
        f"backup {last.get('backup')}: {parts}"
    )


def _row(row: dict[str, Any]) -> list[str]:
    notes = [row["kind"]] if row["kind"] != "whole" else []
    notes += [f"of {row['host']}"] if row["host"] != socket.gethostname() else []
    return [
        row["id"],
        when(row["created"]),
        row["release"] or "-",
        sized(row["bytes"]),
        str(row["parts"]),
        "yes" if row["proven"] else "FAILED" if row["failed"] else "-",
        ", ".join(notes),
    ]


def _restore(args: argparse.Namespace) -> int:
    if args.secrets_only:
        return _secrets(args)
    layout = layout_of(args)
    _require_data(layout)
    work = _work(args, layout)
    if args.go_on or args.back:
        _end_in_order()
        done = resume(work, who(), back=args.back)
    else:
        if left := left_behind(layout):
            raise BackupError(left)
        release = _release(layout)
        found = find_set(work.restic, layout.stack, args.snapshot)
        if args.table:
            if args.only or args.with_secrets or args.without_backup:
                raise BackupError(
                    "--table goes by itself: without --only and --with-secrets, and without "
                    "--without-backup, since what refuses rows has to get back what it had"
                )
            parts, tables = choose_tables(release, found, args.table)
        else:
            parts, tables = choose(layout, release, found, args.only, args.with_secrets), {}
        if args.dry_run or not args.yes:
            _show(layout, release, found, told_of(parts, tables))
        if args.dry_run:
            return OK
        if not args.yes:
            _ask(layout)
        _end_in_order()
        done = restore(
            work,
            release,
            found,
            parts,
            who=who(),
            tables=tables,
            save=not args.without_backup,
            gate_seconds=args.gate_timeout,
        )
    if args.json:
        print(json.dumps(done.to_dict()))
    else:
        say(f"{done.outcome}: backup {done.backup} of {done.stack} in {done.seconds:.1f} s")
        if done.saved:
            say(f"what was there before is backup {done.saved}")
    if done.message:
        say(f"moorage: {done.message}", sys.stderr)
    return OK if done.outcome == ("returned" if args.back else "restored") else FAILED


def _secrets(args: argparse.Namespace) -> int:
    layout = Layout.of(args.stack, args.base, args.run)
    work = _work(args, layout)
    found = find_set(work.restic, layout.stack, args.snapshot)
    done = restore_secrets(work, found, who())
    text = f"secrets of backup {found.id} are in {layout.base / 'secrets'}: deploy {layout.stack}"
    print(json.dumps(done.to_dict())) if args.json else say(text)
    return OK


def _show(layout: Layout, release: Release, found: Set, names: list[str]) -> None:
    say(f"backup {found.id} of {when(found.created)} on {found.host}, release {found.release}:")
    for name in names:
        say(f"  {name} takes the place of what {layout.stack} has now")
    if found.release != release.id:
        say(f"release {release.id} runs now: what migrates will run on the restored data")
    say("services are stopped meanwhile; what is there is saved first, unless you said otherwise")


def _ask(layout: Layout) -> None:
    """Have a person say yes; BackupError for anything else."""
    if not sys.stdin.isatty():
        raise BackupError("nobody is there to say yes: say --yes")
    print(f"overwrite? type {layout.stack}: ", end="", flush=True)
    if sys.stdin.readline().strip() != layout.stack:
        raise BackupError("nothing was changed")


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "backup": lambda args: _each(args, _backup),
    "backups": _backups,
    "prove": lambda args: _each(args, _prove),
    "restore": _restore,
}
