"""`python3 -m fastblog_start main_app | ipc_server | update_server | updater`: become a process."""

import os
import sys

_GUNICORN = ("gunicorn", "--config", "python:fastblog_start.gunicorn", "fastblog_start.wsgi:app")
_COMMANDS = {
    "main_app": _GUNICORN,
    "ipc_server": ("fastblog.ipc_server",),
    "update_server": ("fastblog.update_server",),
    "updater": ("fastblog.updater",),
}


def main(arguments: list[str]) -> int:
    """Become the process; return the exit status if that cannot be."""
    if not arguments or arguments[0] not in _COMMANDS:
        print(f"usage: python3 -m fastblog_start {' | '.join(_COMMANDS)}", file=sys.stderr)
        return 2
    argv = [sys.executable, "-m", *_COMMANDS[arguments[0]], *arguments[1:]]
    os.execv(argv[0], argv)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
