"""Runs on a host: kill a service's main process and time how long nobody is answered.

    killed.py STACK SERVICE URL ROUNDS

Prints JSON: the milliseconds of each round. Before each the operator starts the service anew:
pauses between restarts grow, and each round is to see what a first crash sees.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, "/usr/local/lib/moorage")

from moorage.deploy.runtimes.registry import runtime
from moorage.release.layout import Layout

STACK, SERVICE, URL, ROUNDS = sys.argv[1:]
RUNTIME = runtime(Layout.of(STACK))


def wait(what: str, look: Callable[[], Any]) -> Any:
    """Return what `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            found = look()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.005)
    sys.exit(f"{what}: not within two minutes; {RUNTIME.instances(STACK)}")


def well() -> int:
    """Return the service's process where it is well, else 0."""
    (found,) = [i for i in RUNTIME.instances(STACK) if i.service == SERVICE]
    return found.pid if found.health in ("healthy", "none") else 0


def family(pid: int) -> list[int]:
    """Return a process and all below it, in their order."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(below for child in children for below in family(int(child)))]


def answers() -> bool:
    """Tell whether a visitor is answered."""
    with urllib.request.urlopen(URL, timeout=10) as answer:  # noqa: S310 - our own
        return bool(answer.status == 200)


def kill() -> float:
    """Kill it once."""
    subprocess.run(["moorage", "restart", STACK, SERVICE], check=True, stdout=subprocess.DEVNULL)
    processes = family(wait(f"{SERVICE} is well", well))
    wait(f"{SERVICE} answers", answers)
    # An engine's small init is no part of the service.
    init = Path(f"/proc/{processes[0]}/comm").read_text().strip() in ("docker-init", "tini")
    began = time.monotonic()
    os.kill(processes[init], signal.SIGKILL)
    # What it leaves may answer for a moment, before it ends too.
    wait(f"{SERVICE} has ended", lambda: not any(Path(f"/proc/{p}").exists() for p in processes))
    wait(f"{SERVICE} answers again", answers)
    return round((time.monotonic() - began) * 1000, 1)


print(json.dumps([kill() for _ in range(int(ROUNDS))]))
