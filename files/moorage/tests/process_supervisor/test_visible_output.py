"""What a process writes and says does nothing to the terminal of whoever looks at it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parents[2] / "src"
ATTACK = "\x1b]0;owned\x07\x9b2J gnp\u202egnp.exe"
COMMANDS = (
    ["status"], ["status", "--json"], ["events"], ["events", "--json"], ["logs", "evil"],
    ["logs", "evil", "--stderr"], ["start", "evil"],
)  # fmt: skip


def test_nothing_of_a_process_acts_on_a_terminal(rig: Any) -> None:
    script = f"import sys; print({ATTACK!r}); print({ATTACK!r}, file=sys.stderr); sys.exit(3)"
    rig.start(
        {
            "name": "evil",
            "command": [sys.executable, "-X", "utf8", "-c", script],
            "restart_limit": 0,
            "stdout_logfile": str(rig.path("evil.log")),
            "stderr_logfile": str(rig.path("evil.err.log")),
        }
    )
    rig.in_state("evil", "FATAL")
    assert ATTACK in rig.status("evil")["log_tail"]
    rig.client.call("restart", name="evil", who=ATTACK, reason=ATTACK, wait=20)
    rig.in_state("evil", "FATAL")
    for words in COMMANDS:
        shown = subprocess.run(
            [sys.executable, "-m", "process_supervisor", "-s", rig.client.path, *words],
            capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
        )  # fmt: skip
        said = shown.stdout + shown.stderr
        assert said and not {"\x1b", "\x07", "\x9b", "\u202e"} & set(said), words
    assert not {"\x1b", "\u202e"} & set(rig.output.read_text())
