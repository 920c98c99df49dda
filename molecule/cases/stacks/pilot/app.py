"""A small application: MARK tells its build, BOOT is how many seconds it takes to serve."""

from __future__ import annotations

import http.server
import os
import signal
import sys
import time
from pathlib import Path

MARK = os.environ.get("MARK", "1")
_MEBIBYTES_OF_BIG = 1500
_SECRET = Path("/run/secrets/token")
# Read once at the start, as most programs do.
TOKEN = _SECRET.read_text() if _SECRET.exists() else ""


class App(http.server.BaseHTTPRequestHandler):
    """Answers with the build, the headers as they came, a secret, or a very large body."""

    protocol_version = "HTTP/1.1"
    timeout = 20

    def do_GET(self) -> None:
        """Answer a request of either method."""
        path = self.path.partition("?")[0]
        if path == "/ws":
            self._stay_silent()
            return
        known = {
            "/headers": str(self.headers),
            "/static/app.js": f"build {MARK}\n",
            "/token": TOKEN,
        }
        body = known.get(path, f"{MARK} {self.command} {path}\n").encode()
        times = 1
        if path == "/big":
            body, times = bytes(2**20), _MEBIBYTES_OF_BIG
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) * times))
        self.end_headers()
        for _ in range(times):
            self.wfile.write(body)

    do_POST = do_GET

    def _stay_silent(self) -> None:
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.connection.settimeout(None)
        self.rfile.read(1)
        self.close_connection = True


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    time.sleep(float(os.environ.get("BOOT", "0")))
    http.server.ThreadingHTTPServer(("", int(os.environ.get("PORT", "8000"))), App).serve_forever()
