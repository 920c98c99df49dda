"""Entry point: `python -m devtool COMMAND`, as the Makefile and the shared playbooks call it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from devtool import bench, docs, images, local, locks, mutation, suite, testhost
from devtool.ui import Problem, say

# Each of them makes hosts of its own: its command, and its directory in bench/.
_BENCHES = {
    "bench-rollout": "rollout",
    "bench-edge": "edge",
    "bench-backup": "backup",
    "bench-host": "native",
    "bench-supervisor": "supervisor",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return _dispatch(arguments)
    except Problem as problem:
        problem.show()
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="devtool", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the throwaway host and deploy to it")
    up.add_argument("--ports", type=_two_ports, metavar="FRONT_END,PICTURES")
    for name in (
        "down",
        "status",
        "ssh",
        "inventory",
        "lint",
        "test",
        "test-unit",
        "test-long",
        "test-mutation",
    ):
        commands.add_parser(name)
    for name in ("bench", "docs", "lock", "clean", "teardown"):
        commands.add_parser(name)
    for name in _BENCHES:
        # Options are the benchmark's own; REMAINDER does not take one that comes first.
        words = commands.add_parser(name, prefix_chars="\0", add_help=False)
        words.add_argument("arguments", nargs="*")
    commands.add_parser("logs").add_argument("service", nargs="?")
    commands.add_parser("test-molecule").add_argument("scenario", nargs="?")
    host = commands.add_parser("host", help="make or remove a test host")
    verbs = host.add_subparsers(dest="verb", required=True)
    create = verbs.add_parser("create")
    create.add_argument("name")
    create.add_argument("--scenario", required=True)
    create.add_argument("--image", default=images.TESTHOST)
    for option in ("publish", "network", "volume"):
        create.add_argument(f"--{option}", action="append", default=[])
    verbs.add_parser("destroy").add_argument("name")
    return parser


def _two_ports(text: str) -> list[int]:
    ports = [int(part) for part in text.split(",") if part.isdigit()]
    if len(ports) != len(local.PORTS) or not all(0 < port < 65536 for port in ports):
        raise argparse.ArgumentTypeError("two ports with a comma, like 15000,18088")
    return ports


def _dispatch(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "up":
            return local.up(arguments.ports)
        case "logs":
            return local.logs(arguments.service)
        case "test-molecule":
            return suite.some_scenarios(arguments.scenario)
        case "host":
            return _host(arguments)
        case name if name in _BENCHES:
            return bench.on_a_host(_BENCHES[name], arguments.arguments)
    plain = {
        "down": local.down,
        "status": local.status,
        "ssh": local.login,
        "inventory": local.print_inventory,
        "clean": local.clean,
        "teardown": local.teardown,
        "lint": suite.lint,
        "test": suite.everything,
        "test-unit": suite.units,
        "test-long": suite.long,
        "test-mutation": mutation.run,
        "bench": bench.run,
        "docs": docs.write,
        "lock": locks.renew,
    }
    return plain[arguments.command]()


def _host(arguments: argparse.Namespace) -> int:
    if arguments.verb == "destroy":
        changed = testhost.destroy(arguments.name)
        say("removed" if changed else "absent")
        return 0
    images.ensure_testhost()
    changed = testhost.create(
        testhost.Spec(
            name=arguments.name,
            scenario=arguments.scenario,
            image=arguments.image,
            ports=arguments.publish,
            networks=arguments.network,
            volumes=arguments.volume,
        )
    )
    say("created" if changed else "present")
    return 0


if __name__ == "__main__":
    sys.exit(main())
