"""``moorage``: what a person on a host, or the playbooks, ask of the stacks there."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moorage import __version__
from moorage.control.contract import ControlError, Stream
from moorage.deploy.activate import FAILURES, Request
from moorage.deploy.control import Services, UnknownService
from moorage.deploy.launch import LaunchError, launch, run_activation
from moorage.deploy.layout import DEFAULT_BASE, DEFAULT_RUN, Layout, known_stacks
from moorage.deploy.lock import Locked, hold
from moorage.deploy.release import current_release, history, list_releases
from moorage.deploy.topology import driver
from moorage.tables import event_rows, release_rows, status_rows, table

OK, FAILED, USAGE = 0, 1, 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="moorage", description=__doc__)
    parser.add_argument("--version", action="version", version=f"moorage {__version__}")
    parser.add_argument("--base", type=Path, default=DEFAULT_BASE, help=argparse.SUPPRESS)
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN, help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    status = verbs.add_parser("status", help="show every service of a stack, or of all stacks")
    status.add_argument("stack", nargs="?")
    status.add_argument("--json", action="store_true", help="print JSON instead of a table")

    logs = verbs.add_parser("logs", help="show the last lines of a service's log")
    logs.add_argument("stack")
    logs.add_argument("service")
    logs.add_argument("-n", "--lines", type=int, default=100, metavar="N")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as lines are written")
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

    reopen = verbs.add_parser("reopen", help="open the log files anew, after a rotation")
    reopen.add_argument("stack")

    releases = verbs.add_parser("releases", help="list the retained releases")
    releases.add_argument("stack")
    releases.add_argument("--json", action="store_true")

    enact = verbs.add_parser("activate", help="make a retained release the running one")
    enact.add_argument("stack")
    enact.add_argument("release")
    enact.add_argument("--json", action="store_true")
    enact.add_argument("--keep", type=int, default=5, help="how many releases to retain")
    enact.add_argument("--gate-timeout", type=float, default=120.0, metavar="SECONDS")
    enact.add_argument("--start-timeout", type=float, default=300.0, metavar="SECONDS")
    enact.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="for the lock")
    enact.add_argument(
        "--restart",
        action="append",
        default=[],
        metavar="SERVICE",
        help="start it anew in any case",
    )
    enact.add_argument("--purpose", default="activation by hand")

    remove = verbs.add_parser("remove", help="remove a stack's containers; its data stays")
    remove.add_argument("stack")

    inside = verbs.add_parser("run-activation")
    inside.add_argument("request", type=Path)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 1 failed, 2 wrong usage."""
    args = _parser().parse_args(argv)
    try:
        return _VERBS[args.verb](args)
    except (*FAILURES, ControlError, LaunchError, Locked, UnknownService) as trouble:
        print(f"moorage: {trouble}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130


def _who() -> str:
    # sudo tells who is behind root; an audit trail that says only "root" helps nobody.
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name


def _layout(args: argparse.Namespace) -> Layout:
    stacks = known_stacks(args.base)
    if args.stack not in stacks:
        known = ", ".join(stacks) or "none yet"
        raise UnknownService(f"no stack {args.stack!r} is deployed here (deployed: {known})")
    return Layout.of(args.stack, args.base, args.run)


def _status(args: argparse.Namespace) -> int:
    stacks = [_layout(args).stack] if args.stack else known_stacks(args.base)
    report: list[dict[str, Any]] = []
    for stack in stacks:
        layout = Layout.of(stack, args.base, args.run)
        release = current_release(layout)
        report.append(
            {
                "stack": stack,
                "topology": release.topology if release else None,
                "release": release.id if release else None,
                "services": Services(layout).all(),
            }
        )
    if args.json:
        print(json.dumps(report, indent=2))
        return OK
    for entry in report:
        running = f"{entry['topology']}, release {entry['release']}"
        print(f"{entry['stack']} ({running if entry['release'] else 'no release got healthy yet'})")
        print(table(status_rows(entry["services"]), colour=sys.stdout.isatty()))
    if not report:
        print("no stack is deployed on this host: run `ansible-playbook site.yml`")
    return OK


def _logs(args: argparse.Namespace) -> int:
    services = Services(_layout(args))
    stream: Stream = "stderr" if args.stderr else "stdout"
    if not args.follow:
        print("\n".join(services.log(args.service, args.lines, stream)))
        return OK
    container = services.container_name(args.service)
    if container is not None:
        argv = ["docker", "logs", "--follow", "--tail", str(args.lines), container]
        os.execvp(argv[0], argv)
    for line in services.follow(args.service, args.lines, stream):
        print(line, flush=True)
    return OK


def _act(args: argparse.Namespace) -> int:
    status = Services(_layout(args)).act(args.verb, args.service, _who(), args.reason)
    print(table(status_rows([status]), colour=sys.stdout.isatty()))
    return OK


def _events(args: argparse.Namespace) -> int:
    events = Services(_layout(args)).events(args.lines)
    if args.json:
        print(json.dumps([event.to_dict() for event in events], indent=2))
    elif events:
        print(table(event_rows(events)))
    return OK


def _reopen(args: argparse.Namespace) -> int:
    Services(_layout(args)).reopen()
    return OK


def _releases(args: argparse.Namespace) -> int:
    layout = _layout(args)
    running = current_release(layout)
    rows = [
        {
            "release": release.id,
            "current": running is not None and release.id == running.id,
            "topology": release.topology,
            "activated": [h["at"] for h in history(layout) if h["release"] == release.id],
        }
        for release in list_releases(layout)
    ]
    print(json.dumps(rows, indent=2) if args.json else table(release_rows(rows)))
    return OK


def _activate(args: argparse.Namespace) -> int:
    layout = Layout.of(args.stack, args.base, args.run)
    request = Request(
        stack=args.stack,
        release=args.release,
        who=_who(),
        purpose=args.purpose,
        keep=args.keep,
        gate_timeout=args.gate_timeout,
        start_timeout=args.start_timeout,
        lock_wait=args.wait,
        restart=args.restart,
    )
    outcome = launch(request, layout, _silent if args.json else _say)
    if args.json:
        print(json.dumps(outcome.to_dict()))
    else:
        print(f"{outcome.outcome}: release {outcome.release}")
    if outcome.message:
        print(outcome.message, file=sys.stderr)
    return OK if outcome.ok else FAILED


def _silent(_event: dict[str, Any]) -> None:
    """Swallow progress: who asked for JSON gets one document."""


def _say(event: dict[str, Any]) -> None:
    if event["event"] == "phase-end":
        print(f"{event['name']:<10} {event['outcome']} in {event['seconds']:.2f} s", flush=True)


def _remove(args: argparse.Namespace) -> int:
    layout = _layout(args)
    release = current_release(layout)
    if release is None:
        raise UnknownService(f"no release of {layout.stack} runs, so there is nothing to remove")
    with hold(layout.lock, "removal", _who()):
        driver(release.topology, layout).remove()
        layout.current.unlink()
    print(f"{layout.stack} is removed; its data is still in {layout.base}")
    return OK


def _run_activation(args: argparse.Namespace) -> int:
    outcome = run_activation(args.request, args.base, args.run)
    return OK if outcome.ok else FAILED


_VERBS = {
    "status": _status,
    "logs": _logs,
    "start": _act,
    "stop": _act,
    "restart": _act,
    "events": _events,
    "reopen": _reopen,
    "releases": _releases,
    "activate": _activate,
    "remove": _remove,
    "run-activation": _run_activation,
}

if __name__ == "__main__":
    sys.exit(main())
