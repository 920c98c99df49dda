"""What visitors see: pages, pictures that they send, slow answers, event streams, a WebSocket."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import socketserver
import sqlite3
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from . import faults, notes, websocket
from .build import FAULT, LISTEN, PICTURES, PORT, VERSION

_PART = re.compile(rb'name="picture"[^\r]*\r\n(?:[^\r]+\r\n)*\r\n')
_DRAIN_SECONDS = 8.0


class Server(ThreadingHTTPServer):
    """Counts what it is answering, so that it can end when nobody waits for an answer."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        self.answering = 0
        self._lock = threading.Lock()
        super().__init__((LISTEN, PORT), Visit)

    def server_bind(self) -> None:
        """Take the port; the name of the machine, which the library asks for, is nobody's need."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "harbour", PORT

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of visitors who went away."""
        if not isinstance(sys.exception(), (ConnectionError, EOFError, TimeoutError)):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Count an answer while it is being given."""
        with self._lock:
            self.answering += 1
        try:
            yield
        finally:
            with self._lock:
                self.answering -= 1


class Visit(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server
    # Longer than the edge keeps an idle connection: it is never we who close first.
    timeout = 30
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer a page."""
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        with self.server.at_work():
            page = PAGES.get(url.path)
            if page is not None:
                page(self, query)
            elif url.path.startswith("/pictures/"):
                self._picture(url.path.rpartition("/")[2])
            else:
                self.answer(404, "nothing here\n")
            self.wfile.flush()

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Keep a picture (multipart/form-data, field `picture`) under its checksum."""
        with self.server.at_work():
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            boundary = (self.headers.get_param("boundary") or "") if body else ""
            found = _PART.search(body)
            end = body.find(f"\r\n--{boundary}".encode(), found.end() if found else 0)
            if self.path != "/pictures" or found is None or end < 0:
                self.answer(400, "send a picture\n")
            else:
                self.json(201, keep(body[found.end() : end]))
            self.wfile.flush()

    def answer(self, status: int, text: str | bytes, kind: str = "text/plain") -> None:
        """Send a whole answer."""
        body = text.encode() if isinstance(text, str) else text
        self.head(status, kind, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, status: int, value: object) -> None:
        """Send a value as JSON."""
        self.answer(status, json.dumps(value) + "\n", "application/json")

    def head(self, status: int, kind: str, length: int | None) -> None:
        """Send the head; without a length the connection's end is the answer's."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("X-Harbour-Version", VERSION)
        if length is None:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Leave that to the edge."""

    def _picture(self, name: str) -> None:
        path = PICTURES / name
        if not re.fullmatch(r"[0-9a-f]{64}", name) or not path.exists():
            self.answer(404, "no such picture\n")
        else:
            self.answer(200, path.read_bytes(), "image/png")


def keep(picture: bytes) -> dict[str, object]:
    """Keep a picture; return its checksum and size."""
    name = hashlib.sha256(picture).hexdigest()
    if not (PICTURES / name).exists():
        part = PICTURES / f".{name}.{os.getpid()}.{threading.get_ident()}"
        part.write_bytes(picture)
        part.replace(PICTURES / name)
    return {"sha256": name, "size": len(picture), "version": VERSION}


def front(visit: Visit, query: dict[str, str]) -> None:
    """The front page: reads the database."""
    if FAULT == "slow":
        time.sleep(4)
    if FAULT == "front-500":
        visit.answer(500, "something went wrong\n")
        return
    try:
        count = notes.count()
    except sqlite3.Error as trouble:
        visit.answer(500, f"the database: {trouble}\n")
        return
    text = f"<!doctype html><title>Harbour {VERSION}</title><p>{count} notes</p>\n"
    visit.answer(200, text, "text/html; charset=utf-8")


def health(visit: Visit, query: dict[str, str]) -> None:
    """How it is."""
    well = FAULT != "never-healthy"
    visit.json(200 if well else 503, {"status": "ok" if well else "the tide is out"})


def watched(visit: Visit, query: dict[str, str]) -> None:
    """A page that a prober looks at and no visitor."""
    fails = FAULT == "watched-500" and "X-Forwarded-For" in visit.headers
    visit.answer(500 if fails else 200, f"{VERSION}\n")


def version(visit: Visit, query: dict[str, str]) -> None:
    """What runs."""
    visit.json(200, {"version": VERSION, "host": socket.gethostname(), "pid": os.getpid()})


def slow(visit: Visit, query: dict[str, str]) -> None:
    """`size` bytes over `seconds`: a large file over a thin line."""
    size, seconds = int(query.get("size", "100000")), float(query.get("seconds", "2"))
    pieces = 20
    visit.head(200, "application/octet-stream", size)
    for number in range(pieces):
        visit.wfile.write(b"h" * (size * (number + 1) // pieces - size * number // pieces))
        visit.wfile.flush()
        time.sleep(seconds / pieces)


def events(visit: Visit, query: dict[str, str]) -> None:
    """`count` server-sent events, one every `every` seconds."""
    visit.head(200, "text/event-stream", None)
    visit.close_connection = True
    for number in range(int(query.get("count", "8"))):
        visit.wfile.write(f"id: {number}\ndata: {VERSION}\n\n".encode())
        visit.wfile.flush()
        time.sleep(float(query.get("every", "0.25")))
    visit.wfile.write(b"event: end\ndata: end\n\n")


def echo(visit: Visit, query: dict[str, str]) -> None:
    """A WebSocket that answers with what it is sent."""
    key = visit.headers.get("Sec-WebSocket-Key")
    if visit.headers.get("Upgrade", "").lower() != "websocket" or not key:
        visit.answer(426, "a WebSocket is here\n")
        return
    visit.send_response(101)
    visit.send_header("Upgrade", "websocket")
    visit.send_header("Connection", "Upgrade")
    visit.send_header("Sec-WebSocket-Accept", websocket.accept(key))
    visit.send_header("X-Harbour-Version", VERSION)
    visit.end_headers()
    visit.wfile.flush()
    visit.close_connection = True
    websocket.echo(visit.rfile, visit.wfile)


PAGES: dict[str, Callable[[Visit, dict[str, str]], None]] = {
    "/": front,
    "/health": health,
    "/watched": watched,
    "/version": version,
    "/slow": slow,
    "/events": events,
    "/echo": echo,
}


def main() -> None:
    """Serve until told to stop; answer then whoever waits for an answer."""
    faults.at_start()
    server = Server()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    print(f"harbour {VERSION} listens on port {PORT}", flush=True)
    stopping.wait()
    server.shutdown()
    deadline = time.monotonic() + _DRAIN_SECONDS
    while server.answering and time.monotonic() < deadline:
        time.sleep(0.01)
    os._exit(0)


if __name__ == "__main__":
    main()
