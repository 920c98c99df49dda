"""Serve the control API of one stack: `python3 -m moorage.gateway --stack NAME`.

Needs nothing but Python, the group that owns the engine's socket or the watcher's, and a directory
for its own. `--supervisor SOCKET` serves a process supervisor that is used alone.
"""

import argparse
import os
import re
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

from moorage.common.listening import address, only_here, read_secret
from moorage.common.notify import tell_manager
from moorage.control.audit import Audit
from moorage.control.backups import read_backups
from moorage.control.bearer import SHORTEST_TOKEN, Bearer
from moorage.control.contract import Backups, ControlBackend
from moorage.control.routes import Api
from moorage.control.server import Server
from moorage.control.serving import Limits
from moorage.release.names import BACKUP_STATE, MANIFEST

_STACK = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# Beside the clients: calls to the engine, files, and clients that are told to come back.
_MORE_DESCRIPTORS = 512


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    os.umask(0o077)
    try:
        server = _server(args)
    except (ValueError, OSError) as error:
        parser.exit(1, f"moorage.gateway: {error}\n")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    tell_manager("READY=1")
    server.serve()
    return 0


def _server(args: argparse.Namespace) -> Server:
    if args.stack is None and args.supervisor is None:
        raise ValueError("--stack NAME or --supervisor SOCKET is wanted")
    stack = args.stack or "supervisor"
    limits = Limits()
    _allow_descriptors(limits.connections + _MORE_DESCRIPTORS)
    # Before anything is done: it may not be what was meant.
    place = _place(args)
    token = _token(args)
    backend, kind = _backend(args)
    # A supervisor that is used alone has no backups of anybody's.
    backups = partial(read_backups, args.backups, args.stack) if args.stack else Backups
    api = Api(backend, stack=stack, kind=kind, audit=Audit(args.audit), backups=backups)
    application = Bearer(api, token) if token else api
    return Server(application, place, mode=int(args.socket_mode, 8), limits=limits)


def _place(args: argparse.Namespace) -> str | tuple[str, int]:
    """Return the path, or the host and port, to listen at."""
    if args.listen is None:
        if args.stack is None:
            return args.socket or os.path.join(os.path.dirname(args.supervisor), "http.sock")
        return args.socket or f"/run/moorage/{args.stack}/gateway/control.sock"
    if args.socket is not None:
        raise ValueError("--socket or --listen, not both")
    host, port = address(args.listen)
    if not (only_here(host) or args.plain_http):
        raise ValueError(
            f"--listen {args.listen}: the token would pass the network in the clear. Listen on "
            "127.0.0.1 behind a proxy that speaks TLS, or say --plain-http"
        )
    return host, port


def _token(args: argparse.Namespace) -> str:
    """Return the token that is to be shown, an empty one at a socket: its mode says who may."""
    if args.token_file is not None:
        return read_secret(args.token_file, SHORTEST_TOKEN)
    if args.listen is not None:
        raise ValueError("--listen wants --token-file FILE: every user of the machine may connect")
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="moorage.gateway", description=__doc__)
    parser.add_argument("--stack", type=_stack_name, help="may be left out with --supervisor")
    parser.add_argument(
        "--socket",
        help="default: /run/moorage/STACK/gateway/control.sock; without --stack http.sock beside "
        "the supervisor's",
    )
    parser.add_argument("--socket-mode", default="0660", metavar="OCTAL")
    parser.add_argument("--listen", metavar="ADDRESS:PORT", help="TCP, in place of a socket")
    parser.add_argument("--token-file", metavar="FILE", help="who shows what is in it may ask")
    parser.add_argument("--plain-http", action="store_true", help="serve other hosts without TLS")
    parser.add_argument("--audit", help="the audit log (default: standard error)")
    parser.add_argument("--release", type=Path, help=f"default: /opt/STACK/current/{MANIFEST}")
    parser.add_argument("--state", help="default: /var/lib/moorage-gateway/STACK")
    parser.add_argument(
        "--backups", type=Path, default=Path(BACKUP_STATE), help="default: %(default)s"
    )
    parser.add_argument("--engine", help="the engine's socket (default: /run/docker.sock)")
    parser.add_argument("--supervisor", help="serve this supervisor's socket, and no engine")
    parser.add_argument("--watcher", help="hand on to the watcher at this socket, and no engine")
    return parser


def _stack_name(text: str) -> str:
    if not _STACK.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no stack's name")
    return text


def _backend(args: argparse.Namespace) -> tuple[ControlBackend, Literal["process", "docker"]]:
    # Each imported where it is used: the other one is memory for nothing.
    if args.supervisor:
        from moorage.control.process import ProcessBackend

        return ProcessBackend(args.supervisor), "process"
    if args.watcher:
        from moorage.control.http import HttpBackend

        return HttpBackend(args.watcher), "process"
    from moorage.control.docker_backend import DockerBackend
    from moorage.control.docker_events import EngineJournal
    from moorage.control.engine import Engine
    from moorage.control.membership import Membership

    engine = Engine(args.engine) if args.engine else Engine()
    release = args.release or Path(f"/opt/{args.stack}/current/{MANIFEST}")
    membership = Membership(args.stack, release)
    state = args.state or f"/var/lib/moorage-gateway/{args.stack}"
    journal = EngineJournal(engine, membership, args.stack, f"{state}/events.jsonl")
    journal.start()
    return DockerBackend(engine, membership, journal), "docker"


def _allow_descriptors(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


if __name__ == "__main__":
    sys.exit(main())
