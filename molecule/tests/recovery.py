"""Runs inside a container under our supervisor: kill something and time how long it is away.

    recovery.py service NAME ROUNDS [URL]    a service's process; URL tells whether it serves
    recovery.py supervisor ROUNDS            the supervisor itself

Prints JSON: one mapping of milliseconds a round. It runs inside, so that what is measured is the
product and not the way from the test into the container.
"""

import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from process_supervisor.client import Client, ControlError

CLIENT = Client("/run/supervisor/control.sock")


def wait(what: str, look: Callable[[], Any], seconds: float) -> Any:
    """Return what `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            found = look()
        except (ControlError, OSError):
            found = None
        if found:
            return found
        time.sleep(0.001)
    sys.exit(f"{what}: not within {seconds} s; status: {CLIENT.status()}")


def well(name: str) -> dict[str, Any] | None:
    """Return the status of a service that runs and is healthy."""
    now = CLIENT.status(name)
    return now if now["state"] == "RUNNING" and now["health"] in ("none", "healthy") else None


def serves(url: str) -> bool:
    """Tell whether a visitor is answered."""
    with urllib.request.urlopen(url, timeout=1) as answer:
        return bool(answer.status == 200)


def kill_service(name: str, url: str) -> dict[str, float]:
    """Kill a service's main process and follow it until it serves again."""
    before = wait(f"{name} is well", lambda: well(name), 60)
    if before["restarts"]:
        # A start by an operator clears the history that delays grow with, so that each round
        # sees what the first crash sees.
        CLIENT.restart(name, who="recovery", reason="a new history")
        before = wait(f"{name} is well", lambda: well(name), 60)
    began = time.monotonic()
    os.kill(before["pid"], signal.SIGKILL)

    def replaced() -> dict[str, Any] | None:
        now = CLIENT.status(name)
        return now if now["pid"] not in (None, before["pid"]) else None

    after = wait(f"{name} has a new process", replaced, 10)
    process = time.monotonic() - began
    wait(f"{name} serves", lambda: serves(url) if url else well(name), 60)
    serving = time.monotonic() - began
    wait(f"{name} is well again", lambda: well(name), 60)
    return {
        "process": round(process * 1000, 2),
        "serving": round(serving * 1000, 1),
        "restarts": after["restarts"] - before["restarts"],
    }


def kill_supervisor() -> dict[str, float]:
    """Kill the supervisor and follow it until another one answers."""
    before = CLIENT.info()["pid"]
    began = time.monotonic()
    os.kill(before, signal.SIGKILL)
    wait("another supervisor answers", lambda: CLIENT.info()["pid"] != before, 10)
    return {"supervisor": round((time.monotonic() - began) * 1000, 1)}


if sys.argv[1] == "supervisor":
    rounds = [kill_supervisor() for _ in range(int(sys.argv[2]))]
else:
    name, number, url = sys.argv[2], int(sys.argv[3]), (sys.argv[4:] or [""])[0]
    rounds = [kill_service(name, url) for _ in range(number)]
print(json.dumps(rounds))
