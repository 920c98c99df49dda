"""`make local STACK=chatbot` until a question is answered."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time

from bench.host import BenchError
from bench.native.chat import Chat
from devtool.paths import ROOT
from devtool.rootless import daemon
from devtool.rootless.places import Places

_BASE = ROOT / ".local" / "chatbot"
_READY = re.compile(r"ready at http://([\d.]+):(\d+)")


def measure(rounds: int) -> dict[str, list[float]]:
    """Return the seconds with the environment there, and with the wheels alone, each round."""
    if daemon.running(Places.of("chatbot")):
        raise BenchError("chatbot runs here: make local-down STACK=chatbot")
    _make("local")
    _make("local-down")
    found: dict[str, list[float]] = {"its environment there": [], "its wheels alone": []}
    for _ in range(rounds):
        found["its environment there"].append(_once())
        shutil.rmtree(_BASE / "venv")
        found["its wheels alone"].append(_once())
    return found


def _once() -> float:
    began = time.monotonic()
    try:
        said = _make("local")
        address = _READY.search(said)
        if address is None:
            raise BenchError(said)
        Chat(address[1], int(address[2]), knows=False).ask(1, 1)
        return time.monotonic() - began
    finally:
        _make("local-down")


def _make(target: str) -> str:
    # As somebody at a terminal calls it, whoever has called the bench.
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    env |= {"QUESTION_LIMIT": "1000000000", "CONVERSATION_LIMIT": "1000000000"}
    done = subprocess.run(
        ["make", "-C", str(ROOT), target, "STACK=chatbot"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"make {target}\n{done.stdout}{done.stderr}")
    return done.stdout
