"""``moorage``: what a person on a host, or the playbooks, ask of the stacks there."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from moorage import __version__, packets
from moorage.backup import settings as backup_settings
from moorage.backup.faults import BackupError
from moorage.backup.noted import backup_of, proof_of
from moorage.backup.restoring import left_behind
from moorage.cli import backups, edge, encryption, images, releases
from moorage.cli.arguments import add_parsers
from moorage.cli.caller import FAILED, OK, who
from moorage.cli.releases import layout_of
from moorage.cli.tables import backup_lines, event_rows, status_rows, table
from moorage.common.text import say
from moorage.control import metrics
from moorage.control.backups import read_noted
from moorage.control.contract import ControlError, Stream
from moorage.deploy.control import UNREACHABLE, Services, UnknownService
from moorage.deploy.encryption import fault
from moorage.deploy.release import (
    ReleaseError,
    current_release,
    list_releases,
    readable_release,
)
from moorage.deploy.reservation import read_reservation
from moorage.deploy.runtimes.base import RuntimeFault
from moorage.deploy.runtimes.registry import runtime
from moorage.edge import Edge
from moorage.edge.report import troubles
from moorage.release.layout import DEFAULT_BASE, DEFAULT_RUN, Layout, known_stacks


@cache
def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="moorage", description=__doc__)
    parser.add_argument("--version", action="version", version=f"moorage {__version__}")
    parser.add_argument("--base", type=Path, default=DEFAULT_BASE, help=argparse.SUPPRESS)
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN, help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    status = verbs.add_parser("status", help="show every service of a stack, or of all stacks")
    status.add_argument("stack", nargs="?")
    status.add_argument("--json", action="store_true", help="print JSON instead of a table")

    logs = verbs.add_parser("logs", help="show the last lines of a service's log, or of all logs")
    logs.add_argument("stack")
    logs.add_argument("service", nargs="?")
    logs.add_argument("-n", "--lines", type=int, default=100, metavar="N")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as lines are written")
    logs.add_argument("-t", "--times", action="store_true", help="with when, where it is known")
    logs.add_argument("--stderr", action="store_true", help="the error log instead")

    for verb, text in (
        ("start", "start a service"),
        ("stop", "stop a service; it stays stopped until it is started again"),
        ("restart", "stop and start a service"),
    ):
        act = verbs.add_parser(verb, help=text)
        act.add_argument("stack")
        act.add_argument("service")
        act.add_argument("--reason", help="why, for the audit trail")

    events = verbs.add_parser("events", help="what happened to services, and who asked for it")
    events.add_argument("stack")
    events.add_argument("-n", "--lines", type=int, default=50, metavar="N")
    events.add_argument("--json", action="store_true")

    shown = verbs.add_parser("metrics", help="the services' figures, in Prometheus' text format")
    shown.add_argument("stack", nargs="?")

    reopen = verbs.add_parser("reopen", help="open the log files anew, after a rotation")
    reopen.add_argument("stack")

    add_parsers(verbs)
    backups.add_parsers(verbs)
    encryption.add_parsers(verbs)
    images.add_parsers(verbs)
    edge.add_parser(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 1 failed, 2 wrong usage."""
    words = sys.argv[1:] if argv is None else argv
    # Who types the name alone wants to know what there is.
    args = _parser().parse_args(words or ["--help"])
    try:
        return _VERBS[args.verb](args)
    except (*releases.FAILURES, BackupError, ControlError) as trouble:
        say(f"moorage: {trouble}", sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130


def _status(args: argparse.Namespace) -> int:
    stacks = [layout_of(args).stack] if args.stack else known_stacks(args.base)
    report: list[dict[str, Any]] = []
    saved = backup_settings.SETTINGS.is_file()
    for stack in stacks:
        layout = Layout.of(stack, args.base, args.run)
        release = readable_release(layout)
        report.append(
            {
                "stack": stack,
                "topology": release.topology if release else None,
                "release": release.id if release else None,
                "version": release.manifest.version if release else "",
                "under_way": _under_way(layout),
                "backup": read_noted(backup_of(stack)) if saved else None,
                "proof": read_noted(proof_of(stack)) if saved else None,
                "services": _services(layout, alone=bool(args.stack)),
            }
        )
    if args.json:
        print(json.dumps(report, indent=2))
        return OK
    for entry in report:
        running = f"{entry['topology']}, release {entry['release']}"
        if entry["version"]:
            running += f", version {entry['version']}"
        say(f"{entry['stack']} ({running if entry['release'] else _without_release(args, entry)})")
        for line in entry["under_way"]:
            say(f"! {line}")
        if entry["proof"] is not None:
            for line in backup_lines(entry["backup"], entry["proof"], time.time()):
                say(line)
        print(table(status_rows(entry["services"]), colour=sys.stdout.isatty()))
    if not report:
        print("no stack is deployed on this host: run `ansible-playbook site.yml`")
    return OK


def _services(layout: Layout, *, alone: bool) -> list[dict[str, Any]]:
    """Return the services of a stack; what ails one stack does not hide the others."""
    try:
        return Services(layout).all()
    except (*releases.FAILURES, ControlError) as trouble:
        if alone:
            raise
        say(f"moorage: {layout.stack}: {trouble}", sys.stderr)
        return []


def _without_release(args: argparse.Namespace, entry: dict[str, Any]) -> str:
    layout = Layout.of(entry["stack"], args.base, args.run)
    if list_releases(layout):
        return "no release got healthy yet"
    return f"removed; what is left of it is in {layout.base}"


def _under_way(layout: Layout) -> list[str]:
    """Return what holds the stack at the moment, was left behind by what did, or is damaged."""
    found = [f"the host's packet rules lack {name}: run site.yml" for name in _lost(layout)]
    try:
        current_release(layout)
    except ReleaseError as trouble:
        found.append(str(trouble))
    found += troubles(Edge.of(), layout.stack)
    holder = read_reservation(layout)
    if holder is not None and not holder.gone():
        found.append(holder.describe(layout.stack))
    # What a restore has left lies beside the data.
    data = fault(layout) or left_behind(layout)
    return [*found, *filter(None, (releases.interrupted(layout), data))]


def _lost(layout: Layout) -> list[str]:
    """Return the packet rules that visitors of the stack need and do not have."""
    try:
        instances = runtime(layout).instances(layout.stack)
    except RuntimeFault:
        return []
    # A process listens by itself.
    running = [i for i in instances if i.state == "running" and i.kind == "container"]
    return packets.look([(i.name, p.address, p.port, "") for i in running for p in i.published])


def _logs(args: argparse.Namespace) -> int:
    services = Services(layout_of(args))
    stream: Stream = "stderr" if args.stderr else "stdout"
    if args.service is None:
        return _all_logs(args, services, stream)
    if not args.follow:
        for line in services.log(args.service, args.lines, stream, args.times):
            say(line)
        return OK
    argv = services.followed_by(args.service, args.lines, args.times)
    if argv is not None:
        return _pass_on(argv)
    for line in services.follow(args.service, args.lines, stream, args.times):
        say(line)
    return OK


def _all_logs(args: argparse.Namespace, services: Services, stream: Stream) -> int:
    """Print the last lines of one service after the other: when they were written few know."""
    names = [row["service"] for row in services.all() if row["state"] != UNREACHABLE]
    if args.follow:
        raise UnknownService(f"--follow is for one service: {args.stack} has {', '.join(names)}")
    width = max(map(len, names), default=0)
    for name in names:
        for line in services.log(name, args.lines, stream, args.times):
            say(f"{name:{width}} | {line}")
    return OK


def _pass_on(argv: Sequence[str]) -> int:
    """Run a program and print its lines as they come; return its exit status."""
    # Bytes: of text, a carriage return would end a line.
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        for line in running.stdout or ():
            say(line.decode("utf-8", "replace").removesuffix("\n"))
    return running.returncode


def _act(args: argparse.Namespace) -> int:
    services = Services(layout_of(args))
    status = services.act(
        args.verb, args.service, who(), args.reason, lambda why: say(why, sys.stderr)
    )
    print(table(status_rows([status]), colour=sys.stdout.isatty()))
    return OK


def _events(args: argparse.Namespace) -> int:
    events = Services(layout_of(args)).events(args.lines)
    if args.json:
        print(json.dumps([event.to_dict() for event in events], indent=2))
    elif events:
        print(table(event_rows(events)))
    else:
        print(f"no supervisor and no gateway has noted anything of {args.stack}")
    return OK


def _metrics(args: argparse.Namespace) -> int:
    stacks = [layout_of(args).stack] if args.stack else known_stacks(args.base)
    found = {}
    for stack in stacks:
        try:
            found[stack] = Services(Layout.of(stack, args.base, args.run)).measured()
        except (*releases.FAILURES, ControlError) as trouble:
            say(f"moorage: {stack}: {trouble}", sys.stderr)
    print(metrics.text(found), end="")
    return OK if len(found) == len(stacks) else FAILED


def _reopen(args: argparse.Namespace) -> int:
    Services(layout_of(args)).reopen()
    return OK


_VERBS = {
    "status": _status,
    "logs": _logs,
    "start": _act,
    "stop": _act,
    "restart": _act,
    "events": _events,
    "metrics": _metrics,
    "reopen": _reopen,
    "edge": edge.run,
    **releases.VERBS,
    **backups.VERBS,
    **encryption.VERBS,
    **images.VERBS,
}
