"""The web page: Moorage's panel on this supervisor alone, in this process."""

from __future__ import annotations

import importlib
import os
import secrets
import sys


def serve(socket: str, listen: str, password_file: str | None, more: list[str]) -> int:
    """Serve the page until SIGTERM or ^C and return the exit status.

    `more` is what else `python3 -m moorage.panel` takes.
    """
    try:
        # By name: the supervisor itself needs nothing but the standard library.
        panel = importlib.import_module("moorage.panel.__main__")
    except ModuleNotFoundError as error:
        print(
            f"process_supervisor: the page needs {error.name}, which is not installed here: "
            "pip install './files/moorage[panel]' in Moorage's directory",
            file=sys.stderr,
        )
        return 1
    if password_file is None:
        if not sys.stderr.isatty():
            print(
                "process_supervisor: --password-file FILE is wanted: only on a terminal a password "
                "is made up and shown",
                file=sys.stderr,
            )
            return 2
        password_file = _made_up(listen)
    words = ["--control", f"unix+supervisor://{os.path.abspath(socket)}", "--listen", listen]
    words += ["--password-file", password_file, "--title", "process_supervisor", *more]
    status: int = panel.main(words)
    return status


def _made_up(listen: str) -> str:
    """Return a file of this process alone with a password, which is shown."""
    password = secrets.token_urlsafe(12)
    fd = os.memfd_create("password")
    os.fchmod(fd, 0o600)
    os.write(fd, password.encode())
    print(f"http://{listen}/  user: admin  password of this run: {password}", file=sys.stderr)
    return f"/proc/self/fd/{fd}"
