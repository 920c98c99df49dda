"""Processes of which there may be one at most, counted while something is done."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import Machine

_CENSUS = Path(__file__).with_name("census.py")


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
