"""The command line of the verbs in `moorage.rollouts`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from moorage.settings.stack import Settings


def add_parsers(verbs: Any) -> None:
    """Add the verbs to the command line."""
    releases = verbs.add_parser("releases", help="list the retained releases")
    releases.add_argument("stack")
    releases.add_argument("--json", action="store_true")

    enact = verbs.add_parser("activate", help="make a retained release the running one")
    enact.add_argument("stack")
    enact.add_argument("release")
    _add_options(enact, "activation by hand")
    enact.add_argument(
        "--restart",
        action="append",
        default=[],
        metavar="SERVICE",
        help="start it anew in any case",
    )
    enact.add_argument("--action", choices=("deploy", "update", "rollback"), default="deploy")
    enact.add_argument("--rejoin", action="store_true", help="follow the one that was started")

    back = verbs.add_parser("rollback", help="go back to the previous release, or to a named one")
    back.add_argument("stack")
    back.add_argument("release", nargs="?", default="")
    _add_options(back, "rollback by hand")

    receipt = verbs.add_parser("receipt", help="show what the last rollout measured and did")
    receipt.add_argument("stack")
    receipt.add_argument("release", nargs="?", default="")
    receipt.add_argument("--json", action="store_true")
    receipt.add_argument("--verify", action="store_true", help="check the host's signature")

    inside = verbs.add_parser("exec", help="run a command in the environment of a service")
    inside.add_argument("stack")
    inside.add_argument("service")
    inside.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")

    lock = verbs.add_parser("lock", help="keep updates of a stack away")
    lock.add_argument("stack")
    lock.add_argument("--purpose", default="kept by hand")
    unlock = verbs.add_parser("unlock", help="end a reservation, whoever holds it")
    unlock.add_argument("stack")

    gone = verbs.add_parser("remove", help="remove a stack's containers and images; data stays")
    gone.add_argument("stack")
    gone.add_argument("--data", action="store_true", help="data, secrets and backups too")
    gone.add_argument("--confirm", default="", metavar="STACK", help="the stack's name, for --data")

    unit = verbs.add_parser("run-activation")
    unit.add_argument("request", type=Path)


def _add_options(parser: argparse.ArgumentParser, purpose: str) -> None:
    parser.add_argument("--json", action="store_true")
    keep = Settings.keep_releases
    gate, start = float(Settings.gate_timeout_seconds), float(Settings.start_timeout_seconds)
    parser.add_argument("--keep", type=int, default=keep, help="how many releases to retain")
    parser.add_argument("--gate-timeout", type=float, default=gate, metavar="SECONDS")
    parser.add_argument("--start-timeout", type=float, default=start, metavar="SECONDS")
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="for the lock")
    parser.add_argument("--purpose", default=purpose)
    parser.add_argument("--token", default="", help="of the reservation that this is a part of")
    parser.add_argument("--allow-one-way", action="store_true", help="yes to one-way migrations")
    parser.add_argument("--no-hooks", action="store_true", help="no backup before, nothing after")
