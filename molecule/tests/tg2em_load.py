"""Visitors of tg2em while something is done to it, and its one-and-only services watched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from load import Load, load, served_per_second
from support import Machine
from tg2em import FRONTEND, PICTURES, administrator

_VISITORS = Path(__file__).with_name("tg2em_visitors.py")
_CENSUS = Path(__file__).with_name("census.py")
# Streams and slow downloads, of which there must have been some.
LONG = {"download", "events"}
# Of what the machine can serve: the rest is for what is done meanwhile, builds and starts.
_SHARE = 0.3


@cache
def able(name: str, address: str) -> float:
    """Return the rate that a host can take beside a rollout, measured when it is first asked."""
    found = _SHARE * served_per_second(address, FRONTEND)
    assert found > 0, f"{name} answers nobody"
    return found


@contextmanager
def visited(machine: Machine, *, rate: float = 120, streams: bool = True) -> Iterator[Load]:
    """Send a steady load while the block runs: pages, pictures there and back, and the panel.

    Without ``streams`` nobody looks at the panel: whoever does is signed out by what is done.
    """
    known = {
        "pictures_port": PICTURES,
        "password": machine.sh("cat /opt/tg2em/secrets/tgstate_password"),
        "cookies": administrator(machine).cookies,
    }
    with load(
        machine.address,
        FRONTEND,
        rate=rate,
        long_rate=1.0 if streams else 0,
        generator=_VISITORS,
        known=known,
        most=able(machine.name, machine.address),
    ) as running:
        running.wait_for(int(rate))
        yield running


@dataclass
class Census:
    """How many of a process were there at once: the most, and how long there was none (s)."""

    most: int = 0
    looks: int = 0
    without: float = 0.0


@contextmanager
def counted(machine: Machine, *argv: str) -> Iterator[Census]:
    """Count processes with exactly these arguments on the host, all the time that the block runs.

    The result is known after it.
    """
    command = ["docker", "exec", "-i", machine.name, "python3", "-u", "-c"]
    process = subprocess.Popen(
        [*command, _CENSUS.read_text(encoding="utf-8"), *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "counting\n"
        found = Census()
        yield found
        said, _ = process.communicate("", timeout=30)
        seen: dict[str, Any] = json.loads(said)
        found.most, found.looks, found.without = seen["most"], seen["looks"], seen["without"]
    finally:
        process.kill()
        process.wait()
