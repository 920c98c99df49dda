"""The command line of the verbs in `moorage.cli.releases`."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from moorage.deploy.request import Request


def add_parsers(verbs: Any) -> None:
    """Add the verbs to the command line."""
    releases = verbs.add_parser("releases", help="list the retained releases")
    releases.add_argument("stack")
    releases.add_argument("--json", action="store_true")

    enact = verbs.add_parser("activate", help="make a retained release the running one")
    enact.add_argument("stack")
    enact.add_argument("release")
    _add_request(enact, "action")

    back = verbs.add_parser("rollback", help="go back to the previous release, or to a named one")
    back.add_argument("stack")
    back.add_argument("release", nargs="?", default="")
    _add_request(back, "action", "restart")
    back.set_defaults(action="rollback")

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


def _add_request(parser: argparse.ArgumentParser, *without: str) -> None:
    """Add an option for each field of a request."""
    parser.add_argument("--json", action="store_true")
    for entry in fields(Request):
        if "help" not in entry.metadata or entry.name in without:
            continue
        flag, default = entry.name.replace("_", "-"), entry.default
        about: dict[str, Any] = {"dest": entry.name, "default": default} | entry.metadata
        if isinstance(default, bool):
            flag = f"no-{flag}" if default else flag
            about["action"] = "store_false" if default else "store_true"
        elif isinstance(default, tuple):
            about |= {"action": "append", "default": []}
        else:
            about["type"] = type(default)
        if isinstance(default, float):
            about |= {"metavar": "SECONDS"}
        parser.add_argument(f"--{flag}", **about)
