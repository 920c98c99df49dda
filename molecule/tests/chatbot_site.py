"""chatbot on a host, as those see it who ask it something, and those who look into its jobs."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from support import Machine, wait_until

# A scenario may deploy it by another name.
STACK = os.environ.get("MOORAGE_TEST_STACK", "chatbot")
PORT, DATABASE_PORT = 8010, 5432


def call(machine: Machine, path: str, token: str = "", **body: str) -> dict[str, Any]:
    """Send a request to the API from outside the host (POST with a body) and return the answer."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    data = json.dumps(body).encode() if body or not token else None
    url = f"http://{machine.address}:{PORT}/api{path}"
    # Longer than the edge of any scenario holds a visitor.
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=150) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def converse(machine: Machine, question: str) -> str:
    """Begin a conversation with a question; return the token by which it is read again."""
    token = str(call(machine, "/conversations")["token"])
    assert call(machine, "/conversation/messages", token, text=question)["answer"]["body"]
    return token


def said(machine: Machine, token: str) -> list[str]:
    """Return what was said in a conversation."""
    return [m["body"] for m in call(machine, "/conversation/messages", token)["messages"]]


def census(machine: Machine) -> str:
    """Return how many rows the database has of each table, with their checksums."""
    command = "sh -c 'moorage-dump | moorage-census'"
    return machine.sh(f"moorage exec {STACK} postgres {command}")


@contextmanager
def read_again(machine: Machine, token: str) -> Iterator[list[float]]:
    """Have visitors read a conversation over and over while the block runs: all are answered alike.

    Gives the moments at which they were (Unix seconds), all of them when the block is over.
    """
    answered, over, first = list[float](), threading.Event(), said(machine, token)

    def visit() -> None:
        while not over.is_set():
            assert said(machine, token) == first
            answered.append(time.time())
            over.wait(0.02)

    with ThreadPoolExecutor(4) as pool:
        visitors = [pool.submit(visit) for _ in range(4)]
        try:
            yield answered
        finally:
            over.set()
    for visitor in visitors:
        visitor.result()


def jobs(machine: Machine, *arguments: str) -> dict[str, int]:
    """Ask the service's own command for the figures of jobs, or have it queue some."""
    words = " ".join(arguments or ("status",))
    shown = machine.sh(f"moorage exec {STACK} server python3 -m chatbot.jobs {words}")
    found: dict[str, int] = json.loads(shown)
    return found


def wait_until_done(machine: Machine, tally: int) -> None:
    """Wait until no job is left, and make sure that each was done exactly once."""

    def done() -> bool:
        now = jobs(machine)
        assert now["queued"] == now["running"] == 0, now
        return True

    wait_until("all jobs are done", done, seconds=60, every=0.5)
    now = jobs(machine)
    assert (now["failed"], now["tally"]) == (0, tally), now
