"""The panel as a process of its own, as an operator starts it."""

import http.client
import http.cookies
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from control_rig import SOURCES, eventually

PASSWORD = "a password of these tests"


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class RunningPanel:
    """`python3 -m moorage.panel` on a free port."""

    def __init__(self, directory: Path, control: str, *options: str) -> None:
        """Make its password file; `start` starts it."""
        self.port = free_port()
        self.log = directory / "panel.log"
        password = directory / "panel-password"
        password.write_text(PASSWORD + "\n")
        password.chmod(0o600)
        self.command = [
            sys.executable, "-m", "moorage.panel", "--control", control, "--listen",
            f"127.0.0.1:{self.port}", "--password-file", str(password), "--title", "demo", *options,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=environment, stdout=log, stderr=log)
        eventually(self._answers, "the panel answers", 60)

    def stop(self) -> int:
        """End it and return its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(self.log.read_text())
        try:
            return Visitor(self).get("/health").status == 200
        except OSError:
            return False


class Answer:
    """What came back."""

    def __init__(self, raw: http.client.HTTPResponse) -> None:
        """Read it to its end."""
        self.status = raw.status
        self.headers = raw.headers
        self.text = raw.read().decode()


class Visitor:
    """A browser without a window: cookies, forms and nothing else."""

    def __init__(self, panel: RunningPanel, **headers: str) -> None:
        """Begin without cookies; the headers go with every request."""
        self._panel = panel
        self._headers = headers
        self.cookies: dict[str, str] = {}

    def get(self, path: str, **headers: str) -> Answer:
        """Ask for a page."""
        return self._ask("GET", path, None, headers)

    def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> Answer:
        """Send a form."""
        return self._ask("POST", path, fields or {}, headers)

    def sign_in(self, password: str = PASSWORD) -> Answer:
        """Fill the form in and send it."""
        return self.post(
            "/sign-in", {"username": "admin", "password": password, "csrf_token": self.token()}
        )

    def token(self, path: str = "/sign-in") -> str:
        """Return the token that stands in a page's form."""
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.get(path).text)
        assert found is not None
        return found[1]

    def _ask(
        self, method: str, path: str, fields: dict[str, str] | None, headers: dict[str, str]
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._panel.port, timeout=10)
        sent = {"Accept": "text/html", **self._headers, **headers}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        body = None
        if fields is not None:
            body = urlencode(fields)
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, body, sent)
            answer = Answer(connection.getresponse())
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie", []):
            for name, morsel in http.cookies.SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        return answer


def path_of(location: str | None) -> str:
    """Return a redirect's path with its query."""
    parts = urlsplit(location or "")
    return parts.path + (f"?{parts.query}" if parts.query else "")
