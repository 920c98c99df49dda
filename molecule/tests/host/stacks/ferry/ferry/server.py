"""`python3 -m ferry.server`: tells which database it has found by the name `postgres`."""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg

PASSWORD = Path("/run/secrets/postgres_password")
ASK = "SELECT current_database(), host(inet_server_addr())"


class Visit(BaseHTTPRequestHandler):
    """One visit."""

    def do_GET(self) -> None:
        """Answer with the name and the address of the database."""
        password = PASSWORD.read_text(encoding="utf-8")
        with psycopg.connect(
            host="postgres", user="ferry", dbname="ferry", password=password, connect_timeout=5
        ) as connection:
            found = connection.execute(ASK).fetchone()
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    place = os.environ["LISTEN"], int(os.environ["PORT"])
    ThreadingHTTPServer(place, Visit).serve_forever()
