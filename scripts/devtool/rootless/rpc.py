"""Supervisor's XML-RPC, by its Unix socket."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from pathlib import Path

# What is nobody at the socket, and one that went away in the middle of a call.
AWAY = (OSError, http.client.HTTPException)
BAD_NAME = 10


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        # One a call: what is kept would outlive a supervisord that was started anew.
        return _Connection(self._path)


def connect(path: Path | str) -> xmlrpc.client.ServerProxy:
    """Return supervisord as an object: `.supervisor` has its methods, `.moorage` ours."""
    return xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(str(path)))
