"""The panel by itself: `python3 -m moorage.panel --control URL --password-file FILE`."""

import argparse
import getpass
import importlib
import logging
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from flask import Flask

from moorage.common.listening import address, only_here
from moorage.control.connect import connect
from moorage.panel.accounts import NAME, AccountError, Accounts, hash_password
from moorage.panel.standalone import Settings, create_app
from moorage.panel.stream import end_streams

# Followed logs and live pages hold one each; the rest is for whoever acts and looks.
THREADS = 16
STREAMS = 5
_KEY_BYTES = 32


def main(arguments: list[str] | None = None) -> int:
    """Serve the panel until SIGTERM; return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if words[:1] == ["hash"]:
            return _hash(words[1:])
        return _serve(_parse(words))
    except (AccountError, ValueError, OSError) as error:
        print(f"moorage.panel: {error}", file=sys.stderr)
        return 1


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m moorage.panel", description=__doc__)
    parser.add_argument("--control", metavar="URL", help="control API (MOORAGE_CONTROL_SOCKET)")
    parser.add_argument("--listen", default="127.0.0.1:9000", metavar="ADDRESS:PORT")
    parser.add_argument("--password-file", type=Path, required=True, metavar="FILE")
    parser.add_argument("--user", default="admin", help="whose password it is, where it names none")
    parser.add_argument("--session-key-file", type=Path, metavar="FILE", help="made when missing")
    parser.add_argument("--title", default="Moorage", help="shown above each page")
    parser.add_argument("--own-service", default="", help="the service that this panel is, if any")
    parser.add_argument("--trusted-proxy", metavar="ADDRESS", help="whose X-Forwarded-* count")
    parser.add_argument("--plain-http", action="store_true", help="serve other hosts without TLS")
    return parser.parse_args(words)


def _serve(options: argparse.Namespace) -> int:
    host, port = address(options.listen)
    if not (only_here(host) or options.trusted_proxy or options.plain_http):
        raise ValueError(
            f"--listen {options.listen}: passwords would pass the network in the clear. Listen on "
            "127.0.0.1 behind a proxy that speaks TLS, name it with --trusted-proxy ADDRESS, or "
            "say --plain-http"
        )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    settings = Settings(
        session_key=_session_key(options.session_key_file),
        ended_sessions_file=_ended_sessions_file(options.session_key_file),
        title=options.title,
        own_service=options.own_service,
        max_streams=STREAMS,
    )
    accounts = Accounts(options.password_file, options.user)
    _run(create_app(connect(options.control), accounts, settings), host, port, options)
    return 0


def _run(app: Flask, host: str, port: int, options: argparse.Namespace) -> None:
    proxied: dict[str, object] = {}
    if options.trusted_proxy:
        proxied = {
            "trusted_proxy": options.trusted_proxy,
            "trusted_proxy_headers": {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"},
        }
    create_server = _waitress().create_server
    try:
        server = create_server(
            app,
            host=host,
            port=port,
            threads=THREADS,
            ident=None,
            max_request_body_size=20_000,
            clear_untrusted_proxy_headers=True,
            **proxied,
        )
    except OSError as error:
        # By itself it does not say where.
        error.filename = options.listen
        raise

    def stop(number: int, frame: object) -> NoReturn:
        end_streams()
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    logging.getLogger("moorage.panel").info("listening on %s", options.listen)
    server.run()


def _waitress() -> Any:
    # Only here: who mounts the panel in an application has a server already.
    try:
        return importlib.import_module("waitress")
    except ModuleNotFoundError:
        raise ValueError("waitress is missing: pip install waitress") from None


def _session_key(path: Path | None) -> bytes:
    if path is None:
        return secrets.token_bytes(_KEY_BYTES)
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        key = path.read_bytes().strip()
        if len(key) < _KEY_BYTES:
            raise ValueError(f"{path}: a session key has at least {_KEY_BYTES} bytes") from None
        return key
    key = secrets.token_urlsafe(_KEY_BYTES).encode()
    with os.fdopen(made, "wb") as file:
        file.write(key + b"\n")
    return key


def _ended_sessions_file(key: Path | None) -> Path | None:
    return key.with_name(key.name + ".ended") if key else None


def _hash(words: list[str]) -> int:
    if len(words) != 1 or not NAME.fullmatch(words[0]):
        print("usage: python3 -m moorage.panel hash NAME", file=sys.stderr)
        return 2
    interactive = sys.stdin.isatty()
    password = getpass.getpass() if interactive else sys.stdin.readline().rstrip("\n")
    print(f"{words[0]}:{hash_password(password)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
