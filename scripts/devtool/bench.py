"""`make bench`: the figures that the closing notes quote, taken on the running throwaway host.

On hosts of their own: `make bench-rollout` those of updates, `make bench-edge` those of visitors,
`make bench-backup` those of backups, `make bench-host` those of stacks without containers.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Sequence

from devtool import engine, galaxy, images, local, shell, summary, testhost
from devtool.paths import ROOT, VENV_BIN
from devtool.ui import Problem, say

_ROUNDS = 3


def run() -> int:
    """Measure a run that changes nothing, the images, and memory at rest."""
    host = testhost.find(local.NAME)
    if host is None or not host.running:
        raise Problem(f"{local.NAME} does not run", "Start it with: make up")
    stack = summary.deployed(host)
    _unchanged_run()
    _images(host.name)
    _memory(host.name, str(stack["stack"]))
    return 0


def on_a_host(name: str, arguments: Sequence[str]) -> int:
    """Run the program of ``bench/NAME``, which makes a host of its own."""
    galaxy.ensure()
    engine.ensure()
    images.ensure_testhost()
    return shell.foreground((VENV_BIN / "python", ROOT / "bench" / name / "run.py", *arguments))


def _unchanged_run() -> None:
    seconds, tasks, recap = [], 0, ""
    for _ in range(_ROUNDS):
        started = time.monotonic()
        printed = shell.output(
            (VENV_BIN / "ansible-playbook", "-i", "inventory/local", "site.yml"), timeout=600
        )
        seconds.append(time.monotonic() - started)
        tasks = len(re.findall(r"^TASK \[", printed, re.MULTILINE))
        recap = printed.splitlines()[-1] if printed else ""
    say(f"site.yml, nothing to do: median {statistics.median(seconds):.1f} s of {_ROUNDS}")
    say(f"  {tasks} tasks shown; {' '.join(recap.split())}")


def _images(name: str) -> None:
    say("images on the host:")
    listed = shell.output(
        (
            "docker",
            "exec",
            name,
            "docker",
            "images",
            "--format",
            "{{.Size}}\t{{.Repository}}:{{.Tag}}",
        )
    )
    for line in sorted(listed.splitlines()):
        say(f"  {line}")


def _memory(name: str, stack: str) -> None:
    say("memory at rest (working set, with the page cache that is in use):")
    listed = shell.output(
        (
            "docker",
            "exec",
            name,
            "docker",
            "stats",
            "--no-stream",
            "--format",
            "{{.MemUsage}}\t{{.Name}}",
        )
    )
    for line in listed.splitlines():
        if line.partition("\t")[2].startswith(stack):
            say(f"  {line}")
