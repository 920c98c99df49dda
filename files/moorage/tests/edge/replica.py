"""A replica as a process of its own, so that it can be killed, stopped and made ill: PORT."""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(sys.argv[1])
# Whoever makes this file makes the replica say that it is not well.
ILL = sys.argv[2]


class Handler(BaseHTTPRequestHandler):
    """Answers with its port; /health and all else say 500 while it is ill."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer."""
        body = f'{{"port": {PORT}}}'.encode()
        self.send_response(500 if os.path.exists(ILL) else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Answer, after the body."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()


class Server(ThreadingHTTPServer):
    """Threads end with the process."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_arguments: object) -> None:
        """Say nothing of visitors that are gone."""


Server(("127.0.0.1", PORT), Handler).serve_forever()
