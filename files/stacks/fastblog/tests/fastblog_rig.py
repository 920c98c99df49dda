"""Real processes for the tests, each with files of its own."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from werkzeug.security import generate_password_hash

STACK = Path(__file__).resolve().parents[1]
APP, MOORAGE = STACK / "app", STACK.parents[1] / "moorage" / "src"
PASSWORD, TOKEN = "a-password-for-tests-only-0123456789", "api-token-of-the-tests-0123456789"
SECONDS = 60
T = TypeVar("T")


def eventually(condition: Callable[[], T], what: Callable[[], str], seconds: float = SECONDS) -> T:
    """Return what the condition gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(directory: Path, **settings: str) -> dict[str, str]:
    """Return the variables of the stack's processes, and write their secrets."""
    files = {}
    for name, value in {
        "session_key": "a session key of the tests, long enough",
        # Cheap to check: tests sign in often.
        "admin_password": f"admin:{generate_password_hash(PASSWORD, 'scrypt:1024:8:1')}",
        "api_token": TOKEN,
        "ipc_token": "ipc-token-of-the-tests-0123456789",
    }.items():
        path = directory / name
        path.write_text(f"{value}\n")
        path.chmod(0o600)
        files[f"{name.upper()}_FILE"] = str(path)
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{APP}:{MOORAGE}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "DATA_DIR": str(directory / "data"),
        **files,
        **settings,
    }


def token(page: str) -> str:
    """The token of a page's form."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None, page[:500]
    return found[1]


class Process:
    """A process of the stack and all that it starts, in a group of its own."""

    def __init__(self, directory: Path, environment: dict[str, str], *argv: str) -> None:
        self.log = directory / f"{argv[-1].strip('-')}-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", *argv],
                env=environment,
                cwd=directory,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace")

    def running(self) -> bool:
        """Say whether it is there."""
        return self.popen.poll() is None

    def kill(self) -> None:
        """End it and all its children as a crash would."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(30)


def ask(
    port: int, path: str, method: str = "GET", token: str = "", body: object = None
) -> tuple[int, Any]:
    """Return status and answer, decoded where it is JSON; 0 while nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, json.loads(text) if "json" in answer.headers["Content-Type"] else text
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def main_app(directory: Path, given: dict[str, str], port: int) -> Process:
    """Start the site as compose.yml does, and wait until it answers."""
    made = Process(
        directory, {**given, "LISTEN": f"127.0.0.1:{port}"}, "fastblog_start", "main_app"
    )
    eventually(lambda: ask(port, "/api/health")[0] == 200 or not made.running(), made.text)
    assert made.running(), made.text()
    return made


class Browser:
    """What a browser does of itself: cookies, and the token of a form."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

    def page(self, path: str) -> str:
        """Return a page."""
        with self._opener.open(self._base + path, timeout=60) as answer:
            return str(answer.read().decode())

    def send(self, path: str, **fields: str) -> str:
        """Send a form and return the page that follows."""
        fields["csrf_token"] = token(self.page("/admin/settings"))
        data = urllib.parse.urlencode(fields).encode()
        with self._opener.open(self._base + path, data, timeout=60) as answer:
            return str(answer.read().decode())

    def sign_in(self) -> None:
        """Sign in as the administrator."""
        self.send("/sign-in", username="admin", password=PASSWORD)
