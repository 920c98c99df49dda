"""What programs ask of the command, and no person does: a rollout, and the inside of its unit.

Every update starts both, so they load what they need and no more: the whole of the command takes
four times as long to start. Only a failure brings the rest of it in.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from moorage.cli.caller import FAILED, OK, who
from moorage.common.shape import make
from moorage.common.text import say
from moorage.deploy.launch import LaunchError, launch, rejoin, run_activation
from moorage.deploy.request import Outcome, Request
from moorage.release.layout import DEFAULT_BASE, DEFAULT_RUN, Layout

_WHERE = ("--base", "--run")


def concerns(words: Sequence[str]) -> bool:
    """Tell whether these words of a command line are for this module."""
    rest = list(words)
    while rest[:1] and rest[0] in _WHERE:
        del rest[:2]
    return rest[:1] in (["request"], ["run-activation"])


def main(words: Sequence[str]) -> int:
    """Do what is asked and return the exit status."""
    parser = argparse.ArgumentParser(prog="moorage")
    parser.add_argument("--base", type=Path, default=DEFAULT_BASE)
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN)
    verbs = parser.add_subparsers(dest="verb", required=True)
    # A request comes in JSON on standard input.
    asked = verbs.add_parser("request")
    asked.add_argument("--rejoin", action="store_true")
    asked.add_argument("--give-back", action="store_true")
    verbs.add_parser("run-activation").add_argument("request", type=Path)
    args = parser.parse_args(words)
    try:
        return _requested(args) if args.verb == "request" else _run_activation(args)
    except Exception as trouble:
        from moorage.cli.releases import FAILURES

        if not isinstance(trouble, FAILURES):
            raise
        say(f"moorage: {trouble}", sys.stderr)
        return FAILED


def _requested(args: argparse.Namespace) -> int:
    try:
        request = make(Request, json.load(sys.stdin), strict=True)
    except ValueError as trouble:
        raise LaunchError(f"this is no request of this version: {trouble}") from None
    layout = Layout.of(request.stack, args.base, args.run)
    try:
        outcome = _outcome(request, layout, args)
    finally:
        if args.give_back:
            from moorage.deploy.reservation import give_back

            give_back(layout, request.token)
    print(json.dumps(outcome.to_dict()))
    for line in (outcome.message, *outcome.warnings):
        if line:
            say(line, sys.stderr)
    return OK if outcome.ok else FAILED


def _outcome(request: Request, layout: Layout, args: argparse.Namespace) -> Outcome:
    if args.rejoin:
        return rejoin(request.release, layout, _silent)
    if request.action == "rollback":
        from moorage.cli.releases import going_back

        request = going_back(request, args)
    return launch(replace(request, who=who()), layout, _silent)


def _silent(_event: dict[str, Any]) -> None:
    """Swallow progress: who asked for JSON gets one document."""


def _run_activation(args: argparse.Namespace) -> int:
    outcome = run_activation(args.request, args.base, args.run)
    # To the unit's own journal, where no other one can be written.
    if outcome.message:
        say(outcome.message, sys.stderr)
    return OK if outcome.ok else FAILED
