"""One client's connection to the control API, and the socket it comes to."""

import os
import socket
import struct
from dataclasses import replace
from typing import Literal

from moorage.control.wire import HEAD_END, Request, bad_request, check_head, parse_head

Phase = Literal["reading", "working", "streaming", "writing", "lingering"]
CREDENTIALS = struct.Struct("iII")
_BACKLOG = 4096


class Connection:
    """One client."""

    __slots__ = ("deadline", "drained", "head", "peer", "phase", "received", "socket", "unsent")

    def __init__(self, client: socket.socket, address: object, deadline: float) -> None:
        """Ask the kernel who it is, and give it until `deadline` to send its request."""
        self.socket = client
        self.phase: Phase = "reading"
        self.received = b""
        self.unsent = b""
        self.drained = 0
        self.head: Request | None = None
        self.deadline = deadline
        self.peer = _peer(client, address)

    def parse(self) -> Request | None:
        """Return the request once it is there as a whole; raises ControlError."""
        if self.head is None:
            check_head(self.received)
            end = self.received.find(HEAD_END)
            if end < 0:
                return None
            self.head = parse_head(self.received[:end])
            self.received = self.received[end + len(HEAD_END) :]
        if len(self.received) > self.head.length:
            raise bad_request("there is more than one request on this connection")
        if len(self.received) < self.head.length:
            return None
        return replace(self.head, body=self.received, peer=self.peer)


def _peer(client: socket.socket, address: object) -> dict[str, int | str]:
    if isinstance(address, tuple):
        return {"address": address[0], "port": address[1]}
    raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    return dict(zip(("pid", "uid", "gid"), CREDENTIALS.unpack(raw), strict=True))


def shutdown(client: socket.socket, how: int) -> None:
    """Shut one or both directions; of a connection that is gone already, nothing is left to."""
    try:
        client.shutdown(how)
    except OSError:
        return


def listen(place: str | tuple[str, int], mode: int) -> socket.socket:
    """Return a listening socket: at a path, or at a host and port, for which no mode counts."""
    return _listen_at(place, mode) if isinstance(place, str) else _listen_on(*place)


def _listen_on(host: str, port: int) -> socket.socket:
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    listener.setblocking(False)
    return listener


def _listen_at(path: str, mode: int) -> socket.socket:
    """Listen at a path; an older socket there is replaced in one step."""
    # Bound elsewhere first: clients never find a missing socket or one with a wrong mode.
    temporary = f"{path}.{os.getpid()}"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    try:
        listener.bind(temporary)
    except OSError as error:
        # By itself it does not say where.
        error.filename = path
        raise
    os.chmod(temporary, mode)
    listener.listen(_BACKLOG)
    os.replace(temporary, path)
    return listener
