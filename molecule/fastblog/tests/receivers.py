"""Takes mail on 127.0.0.1:2525 and webhooks on 127.0.0.1:8099, and writes each as a line of JSON.

The same server gives what lies in the directory of its first argument: a feed of releases.
"""

from __future__ import annotations

import http.server
import json
import socketserver
import sys
import threading
from functools import partial
from pathlib import Path

TAKEN = Path("/run/taken.jsonl")


def note(kind: str, text: str) -> None:
    with TAKEN.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"kind": kind, "text": text}) + "\n")


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as a client without extensions says."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            verb = line[:4].upper().strip()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = list(iter(self.rfile.readline, b".\r\n"))
                note("mail", b"".join(lines).decode())
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 yes\r\n")
            if verb == b"QUIT":
                return


class Web(http.server.SimpleHTTPRequestHandler):
    """Files, and what is posted."""

    def do_POST(self) -> None:
        note("webhook", self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()


socketserver.ThreadingTCPServer.allow_reuse_address = True
mail = socketserver.ThreadingTCPServer(("127.0.0.1", 2525), Mail)
threading.Thread(target=mail.serve_forever, daemon=True).start()
web = partial(Web, directory=sys.argv[1])
http.server.ThreadingHTTPServer(("127.0.0.1", 8099), web).serve_forever()
