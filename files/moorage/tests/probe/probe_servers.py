"""Real servers on loopback that behave and misbehave."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from moorage.probe import Target

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

#: What a raw server does with a connection; the number tells which one it is, from 0.
Conduct = Callable[[socket.socket, int], None]


def target(port: int, path: str = "/", service: str = "web", method: str = "GET") -> Target:
    return Target(service, "127.0.0.1", port, path, method)


class _Handler(BaseHTTPRequestHandler):
    """`/` is well, `/500` is not, `/slow` takes half a second, `/chunked` comes in pieces."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.path, self.headers["Connection"]))  # type: ignore[attr-defined]
        if self.path == "/slow":
            threading.Event().wait(0.5)
        self.send_response(500 if self.path == "/500" else 200)
        body = b"out of\r\norder" if self.path == "/500" else b"well"
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            body = b"4\r\nwell\r\n6;x=y\r\n, well\r\n0\r\nX-Trailer: 1\r\n\r\n"
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    do_HEAD = do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def http_server() -> Iterator[tuple[int, list[tuple[str, str, str]]]]:
    """A real HTTP server; yields its port and what it was asked: method, path, Connection."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1], server.seen  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def raw_server(conduct: Conduct) -> Iterator[int]:
    """A server that does as it is told with each connection; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def accept() -> None:
        number = 0
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection, number), daemon=True).start()
            number += 1

    def serve(connection: socket.socket, number: int) -> None:
        with connection, contextlib.suppress(OSError):
            conduct(connection, number)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def request(connection: socket.socket) -> bytes:
    """Read one request without a body; empty when the client has gone."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        piece = connection.recv(4096)
        if not piece:
            return b""
        data += piece
    return data


def reset(connection: socket.socket) -> None:
    """Close with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
