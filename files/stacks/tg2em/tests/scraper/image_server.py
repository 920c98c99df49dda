"""An image service in the test's own process: tgState's `POST /api` and `GET /d/<id>`."""

import hashlib
import json
import socket
import threading
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class ImageServer:
    """Keeps what is uploaded in `files`; `stop` and `start` keep the port."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.names: list[str] = []
        self.uploads = 0
        self.password = ""
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]

    @property
    def url(self) -> str:
        """Where it listens, or would listen."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen and serve."""
        owner = self

        class Handler(_Handler):
            images = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def stop(self) -> None:
        """Close the port: the next request is refused."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    images: ImageServer

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        given = parse_qs(urlsplit(self.path).query).get("pass", [""])[0]
        if self.images.password and given != self.images.password:
            self._answer(401, {"code": 0, "message": "wrong password"})
            return
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
            if part.get_param("name", header="content-disposition") == "image":
                data = part.get_payload(decode=True)
                assert isinstance(data, bytes)
                number = hashlib.sha256(data).hexdigest()[:20]
                self.images.files[number] = data
                self.images.names.append(part.get_filename() or "")
                self.images.uploads += 1
                url = f"{self.images.url}/d/{number}"
                self._answer(200, {"code": 1, "message": f"/d/{number}", "url": url, "imgUrl": url})
                return
        self._answer(400, {"code": 0, "message": "no field image"})

    def do_GET(self) -> None:
        data = self.images.files.get(urlsplit(self.path).path.removeprefix("/d/"))
        self.send_response(200 if data else 404)
        self.end_headers()
        self.wfile.write(data or b"")

    def _answer(self, status: int, reply: dict[str, object]) -> None:
        data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
