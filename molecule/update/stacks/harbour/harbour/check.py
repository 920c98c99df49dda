"""`python3 -m harbour.check`: the health check. Status 0 when /health says 200."""

import socket
import sys

from .build import PORT


def main() -> int:
    """Ask once; print what was answered."""
    try:
        with socket.create_connection(("127.0.0.1", PORT), timeout=2) as connection:
            connection.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = b""
            while piece := connection.recv(4096):
                answer += piece
    except OSError as trouble:
        print(f"127.0.0.1:{PORT}: {trouble}")
        return 1
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    print(b" ".join(status).decode(), body.decode("utf-8", "replace").strip()[:200])
    return 0 if status == [b"200"] else 1


if __name__ == "__main__":
    sys.exit(main())
