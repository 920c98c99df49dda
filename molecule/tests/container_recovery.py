"""Runs on a host: kill the main process of a service's container and time how long it is away.

    container_recovery.py CONTAINER [URL]      URL tells whether the service serves

Prints JSON: milliseconds until the container has another process, and until it serves. It runs on
the host and speaks to the engine itself, so that what is measured is not the way from the test.
"""

import http.client
import json
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Engine(http.client.HTTPConnection):
    """A connection to the engine's socket."""

    def connect(self) -> None:
        """Connect to it."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect("/run/docker.sock")


def inspect(container: str) -> dict[str, Any]:
    """Return what the engine says of a container."""
    engine = Engine("engine")
    engine.request("GET", f"/containers/{container}/json")
    found: dict[str, Any] = json.loads(engine.getresponse().read())
    engine.close()
    return found


def wait(what: str, look: Callable[[], Any], seconds: float) -> Any:
    """Return what `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            found = look()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.005)
    sys.exit(f"{what}: not within {seconds} s; {inspect(CONTAINER)['State']}")


def well() -> dict[str, Any] | None:
    """Return the container once it runs and its health check is content."""
    state = inspect(CONTAINER)["State"]
    health = (state.get("Health") or {"Status": "healthy"})["Status"]
    return state if state["Status"] == "running" and health == "healthy" else None


def serves(url: str) -> bool:
    """Tell whether a visitor is answered."""
    with urllib.request.urlopen(url, timeout=1) as answer:
        return bool(answer.status == 200)


def main_process(pid: int) -> int:
    """Return the service itself, where a small init of the engine is the first process."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    first = Path(f"/proc/{pid}/comm").read_text().strip()
    return int(children[0]) if first in ("docker-init", "tini") else pid


CONTAINER, URL = sys.argv[1], (sys.argv[2:] or [""])[0]
before = wait("it is well", well, 60)
restarts = inspect(CONTAINER)["RestartCount"]
began = time.monotonic()
os.kill(main_process(before["Pid"]), signal.SIGKILL)


def replaced() -> bool:
    """Tell whether the container runs again."""
    state = inspect(CONTAINER)["State"]
    return bool(state["Status"] == "running" and state["StartedAt"] != before["StartedAt"])


wait("it has a new process", replaced, 20)
process = time.monotonic() - began
wait("it serves", (lambda: serves(URL)) if URL else well, 60)
serving = time.monotonic() - began
wait("it is well again", well, 60)
print(
    json.dumps(
        {
            "process": round(process * 1000, 1),
            "serving": round(serving * 1000, 1),
            "restarts": inspect(CONTAINER)["RestartCount"] - restarts,
        }
    )
)
