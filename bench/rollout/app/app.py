"""The application that is measured: healthy at once, and answers what the load sends.

Requests in flight when it is told to stop are answered; every answer names its version.
"""

import hashlib
import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ.get("VERSION", "") + os.environ.get("MARK", "")
PORT = int(os.environ.get("PORT", "5000"))


class Visit(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    # Longer than a proxy keeps an idle connection: it is never we who close first.
    timeout = 30

    def do_GET(self) -> None:
        """Answer a page."""
        self._answer(200, f"{VERSION}\n".encode())

    def do_POST(self) -> None:
        """Say which picture came: the part of a form between its head and its last line."""
        form = self.rfile.read(int(self.headers["Content-Length"]))
        boundary = b"--" + self.headers["Content-Type"].partition("boundary=")[2].encode()
        picture = form.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n" + boundary + b"--\r\n")
        digest = hashlib.sha256(picture).hexdigest()
        self._answer(201, json.dumps({"sha256": digest}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        with self.server.at_work:  # type: ignore[attr-defined]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            # The load looks for this name.
            self.send_header("X-Harbour-Version", VERSION)
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

    def log_message(self, *arguments: object) -> None:
        """Keep no log: what is measured is the way of updating."""


class AtWork:
    """Counts answers that are being given."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.count -= 1


class Server(ThreadingHTTPServer):
    """A thread for each connection, and room for those that come at once."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        self.at_work = AtWork()
        super().__init__(("0.0.0.0", PORT), Visit)


def main() -> None:
    """Serve until told to stop."""
    server, stopping = Server(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    stopping.wait()
    server.shutdown()
    # Nobody more is let in; whoever is being answered gets the rest.
    server.socket.close()
    deadline = time.monotonic() + 5
    while server.at_work.count and time.monotonic() < deadline:
        time.sleep(0.005)
    os._exit(0)


if __name__ == "__main__":
    main()
