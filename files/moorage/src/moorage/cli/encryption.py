"""The verbs of `moorage` for data that is encrypted on the disk."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from moorage.cli.caller import OK
from moorage.deploy.encryption import encrypt, revive
from moorage.release.layout import Layout


def add_parsers(verbs: Any) -> None:
    """Add the verbs to the command line."""
    make = verbs.add_parser("encrypt", help="have a place for a new stack's data that is encrypted")
    make.add_argument("stack")
    again = verbs.add_parser("revive", help="start anew what has lost its encrypted data")
    again.add_argument("stack")


def _encrypt(args: argparse.Namespace) -> int:
    layout = Layout.of(args.stack, args.base, args.run)
    done = encrypt(layout)
    print(f"{'made' if done else 'there'}: {layout.encrypted}, its key is {layout.storage_key}")
    return OK


def _revive(args: argparse.Namespace) -> int:
    for name in revive(Layout.of(args.stack, args.base, args.run)):
        print(f"{name} was started on the data that is back")
    return OK


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {"encrypt": _encrypt, "revive": _revive}
