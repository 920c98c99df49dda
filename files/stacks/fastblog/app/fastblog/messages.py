"""The site among the other processes: what it tells them, and what they ask of it."""

import os
import signal
from contextlib import suppress
from typing import Any

from flask import Flask, current_app

from fastblog import __version__
from fastblog.ipc import Client, IpcError, Member
from moorage.application.environment import ConfigurationError

NAME = "main_app"
_KEY = "fastblog_messages"


def join(app: Flask) -> None:
    """Take part from now on, where the deployment has a message server (IPC_TOKEN_FILE)."""
    if os.environ.get("IPC_TOKEN_FILE"):
        app.extensions[_KEY] = Member(NAME, serve=_serve)


def announce(topic: str, **data: Any) -> None:
    """Tell whoever wants to know."""
    if member := current_app.extensions.get(_KEY):
        member.publish(topic, data)


def ask(to: str, data: Any) -> Any:
    """Return what another process answers; raises IpcError."""
    try:
        with Client("asking") as client:
            return client.status() if to == "ipc_server" else client.request(to, data, 12.0)
    except ConfigurationError as error:
        raise IpcError(str(error)) from None


def _serve(data: Any, _who: str) -> dict[str, Any]:
    """Answer a message: `status`, or `switch`, which has the release that is to run take over."""
    found = {
        "version": __version__,
        "pid": os.getpid(),
        # Whoever asks is on the same machine.
        "port": int(os.environ.get("LISTEN", "").rpartition(":")[2] or 9421),
    }
    if data == "switch":
        # gunicorn's master: it makes a new worker, and the old one ends what it was asked.
        with suppress(ProcessLookupError):
            os.kill(os.getppid(), signal.SIGHUP)
    elif data != "status":
        raise ValueError("say status or switch")
    return found
