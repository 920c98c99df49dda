"""``moorage edge``: what a person on a host, the playbooks and timers ask of the edge."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from moorage.cli.tables import table
from moorage.common.text import say

OK, FAILED = 0, 1


def add_parser(verbs: Any) -> None:
    """Add the command and what it takes to ``verbs`` of the main parser."""
    parser = verbs.add_parser("edge", help="the nginx in front of the stacks of this host")
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACTION")
    status = acts.add_parser("status", help="show stacks, pools, peers and requests in flight")
    status.add_argument("--json", action="store_true")
    acts.add_parser("test", help="let nginx read the configuration that is wanted")
    acts.add_parser("reload", help="render anew and reload, when nginx accepts it")
    keep = acts.add_parser("maintenance", help="answer a stack's visitors with a page, or not")
    keep.add_argument("stack")
    keep.add_argument("state", choices=["on", "off"])
    acts.add_parser("reopen", help="open the log files anew, after a rotation")
    acts.add_parser("certificates", help="fetch missing certificates, renew those that are due")
    make = acts.add_parser("provision", help="make the edge as a document on stdin says")
    make.add_argument("--check", action="store_true", help="only tell what would change")


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status: 0 done, 1 failed."""
    # Late: the package is not needed by the commands that are asked every few seconds.
    from moorage.edge.core import Edge
    from moorage.edge.errors import EdgeError

    try:
        return int(_ACTS[args.act](Edge.of(), args))
    except (EdgeError, OSError) as trouble:
        say(f"moorage: {trouble}", sys.stderr)
        return FAILED


def _status(edge: Any, args: argparse.Namespace) -> int:
    from moorage.edge.report import report

    found = report(edge)
    print(json.dumps(found, indent=2) if args.json else text(found))
    return OK if found["running"] or not found["present"] else FAILED


def text(found: dict[str, Any]) -> str:
    """Return the state for a person."""
    if not found["present"]:
        return "this host has no edge"
    state = "running" if found["running"] else f"NOT RUNNING: {found['trouble']}"
    lines = [f"edge ({found['kind']}, TLS {found['tls']}): {state}"]
    if found["running"] and found["generation"] != found["wanted_generation"]:
        lines.append("it runs with an older configuration: `moorage edge reload` says why")
    lines += found["damage"]
    rows = [["STACK", "POOL", "PEER", "IN FLIGHT", "REACHED BY"]]
    for stack in found["stacks"]:
        for pool, peers in stack["pools"].items():
            reached = ", ".join(stack["reached"][pool])
            reached += " (maintenance)" if stack["maintenance"] else ""
            shown = [(peer, str(count)) for peer, count in peers.items()] or [("none", "-")]
            rows += [[stack["stack"], pool, peer, count, reached] for peer, count in shown]
        for peer, why in stack["aside"].items():
            lines.append(f"{stack['stack']}: {peer} is not well ({why}): others get its visitors")
        for listener in stack["without_address"]:
            lines.append(
                f"{stack['stack']}: nobody reaches {listener} yet: this host does not have that "
                "address"
            )
        for domain in stack["without_certificate"]:
            lines.append(f"{domain}: self-signed until the ACME server's certificate is there")
    return "\n".join([*lines, table(rows)] if len(rows) > 1 else lines)


def _test(edge: Any, _args: argparse.Namespace) -> int:
    edge.test()
    print("nginx accepts the configuration")
    return OK


def _reload(edge: Any, _args: argparse.Namespace) -> int:
    edge.reload()
    print("new workers serve the configuration")
    return OK


def _maintenance(edge: Any, args: argparse.Namespace) -> int:
    edge.maintenance(args.stack, args.state == "on")
    return OK


def _reopen(edge: Any, _args: argparse.Namespace) -> int:
    nginx = edge.nginx()
    if nginx.running():
        nginx.reopen()
    return OK


def _certificates(edge: Any, _args: argparse.Namespace) -> int:
    troubles = edge.obtain_certificates()
    say("\n".join(troubles) or "every certificate is there and good for a while")
    return FAILED if troubles else OK


def _provision(edge: Any, args: argparse.Namespace) -> int:
    from moorage.edge.provision import Provision

    done = Provision.of(edge, json.load(sys.stdin)).carry_out(check=args.check)
    print(json.dumps({"changes": [vars(change) for change in done]}))
    return OK


_ACTS = {
    "status": _status,
    "test": _test,
    "reload": _reload,
    "maintenance": _maintenance,
    "reopen": _reopen,
    "certificates": _certificates,
    "provision": _provision,
}
