"""A real edge in a container of the machine's engine, and applications for it to reach."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from moorage.edge import Edge
from moorage.edge.provision import Provision

SOURCE = Path(__file__).resolve().parents[3] / "images" / "nginx"
IMAGE = "moorage/nginx:test"
BASE = "moorage/base:trixie"


def docker(*argv: str, check: bool = True) -> str:
    """Run docker and return what it said."""
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def build_image() -> str:
    """Build the image of files/images/nginx and return its reference."""
    dockerfile = (
        (SOURCE / "Dockerfile").read_text().replace("FROM debian:trixie-slim", f"FROM {BASE}")
    )
    argv = ["docker", "build", "--quiet", "--tag", IMAGE, "--file", "-", str(SOURCE)]
    done = subprocess.run(argv, input=dockerfile, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return IMAGE


def free_port() -> int:
    """Return a port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait until the condition holds and return its value; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class EdgeRig:
    """An edge of its own: directories, ports, and the container."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        self.http, self.https, self.probe = free_port(), free_port(), free_port()
        self.container = f"moorage-edge-test-{os.getpid()}-{self.http}"
        self.edge = Edge.of(directory / "edge", directory / "run" / "edge")
        self.log = directory / "log"
        self.document: dict[str, Any] = {
            "kind": "container",
            "image": IMAGE,
            "settings": {
                "log_dir": str(self.log),
                "cache_dir": str(directory / "cache"),
                "container": self.container,
                "http_port": self.http,
                "https_port": self.https,
                "probe_port": self.probe,
                **settings,
            },
        }

    def provision(self, check: bool = False, **settings: Any) -> list[str]:
        """Provision with further settings and return what changed."""
        self.document["settings"] |= settings
        made = Provision.of(self.edge, self.document, self.directory / "root")
        return [change.what for change in made.carry_out(check)]

    def stack(self, name: str, *peers: str, **facts: Any) -> int:
        """Have a stack with one pool at a port of its own, and return the port."""
        port = free_port()
        listener = {"port": port, "address": "127.0.0.1", "pool": "web:80"}
        wanted = {"pools": {"web:80": {}}, "listeners": [listener], **facts}
        self.edge.apply(name, wanted)
        self.edge.switch(name, {"web:80": list(peers)})
        return port

    def access_log(self, request_id: str) -> dict[str, Any]:
        """Return the line of a request, which is written within a second or two."""

        def line() -> dict[str, Any] | None:
            lines = (self.log / "access.json").read_text().splitlines()
            found = [entry for entry in map(json.loads, lines) if entry["id"] == request_id]
            return found[0] if found else None

        found: dict[str, Any] = until(line)
        return found

    def remove(self) -> None:
        """Remove the containers and what they wrote."""
        docker("rm", "--force", self.container, f"{self.container}-old", check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


class Application:
    """A small server that answers with what it was asked."""

    def __init__(self, port: int = 0, **behaviour: Any) -> None:
        self.gate = threading.Event()
        # While it is set no request gets an answer.
        self.stuck = threading.Event()
        self.asked: list[str] = []
        self.sent = 0
        handler = type("Handler", (_Handler,), {"application": self, "behaviour": behaviour})
        self.server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def peer(self) -> str:
        """Return what a pool calls it."""
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop listening."""
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    application: Application
    behaviour: ClassVar[dict[str, Any]] = {}

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer by the path."""
        self.application.asked.append(f"{self.command} {self.path}")
        if self.application.stuck.is_set():
            self.application.gate.wait(30)
        name = self.path.strip("/").partition("/")[0].partition("?")[0]
        getattr(self, f"_{name}", self._echo)()

    def do_POST(self) -> None:
        """Answer as to a GET, after the body."""
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        self.do_GET()

    do_PUT = do_PATCH = do_POST

    def _answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _echo(self) -> None:
        seen = {
            "port": self.application.port,
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "received": len(getattr(self, "body", b"")),
        }
        self._answer(json.dumps(seen).encode(), Content_Type="application/json")

    def _wait(self) -> None:
        self.application.gate.wait(30)
        self._echo()

    def _framed(self) -> None:
        self._answer(b"x", X_Frame_Options="DENY", X_Content_Type_Options="nosniff")

    def _text(self) -> None:
        self._answer(b"all work and no play " * 500, Content_Type="text/css")

    def _static(self) -> None:
        said = {
            "private": {"Cache_Control": "private"},
            "nocache": {"Cache_Control": "no-cache"},
            "nostore": {"Cache_Control": "no-store"},
            "cookie": {"Set_Cookie": "a=b"},
            "vary": {"Vary": "*"},
            "public": {"Cache_Control": "public, max-age=60"},
            "pragma": {"Pragma": "no-cache"},
            "broken": {"Cache_Control": "public, max-age=60"},
        }
        name = self.path.rpartition("/")[2].partition(".")[0]
        status = 500 if name == "broken" else 200
        self._answer(b"body { }", status, Content_Type="text/css", **said.get(name, {}))

    def _big(self) -> None:
        size = 256 * 2**20
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        for _ in range(size // 2**20):
            self.wfile.write(b"x" * 2**20)
            self.application.sent += 2**20

    def _early(self) -> None:
        self.send_response_only(103)
        self.end_headers()
        self._echo()

    def _hang(self) -> None:
        # Ends the connection instead of an answer.
        self.close_connection = True

    def _stream(self) -> None:
        kind = "text/event-stream" if "events" in self.path else "text/plain"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"9\r\ndata: 1\n\n\r\n")
        self.wfile.flush()
        self.application.gate.wait(30)
        self.wfile.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    def _socket(self) -> None:
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", self.headers["Upgrade"])
        self.send_header("Connection", self.headers["Connection"])
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.wfile.flush()
        while data := self.connection.recv(4096):
            self.connection.sendall(data)
        self.close_connection = True


class Answer:
    """A finished answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self) -> Any:
        """Return the body as data."""
        return json.loads(self.body)


def get(
    port: int, path: str = "/", method: str = "GET", body: bytes | None = None, **headers: str
) -> Answer:
    """Ask once, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=named)
        return Answer(connection.getresponse())
    finally:
        connection.close()
