"""Processes that the launcher makes: what it is told, and the scopes in which it puts them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from moorage.deploy.runtimes.managers.systemd import systemctl
from moorage.release.native import Process


def file_of(process: Process) -> str:
    """Return the content of a process's file."""
    return json.dumps(asdict(process), indent=2) + "\n"


def limit(unit: str, pids: int) -> None:
    """Limit the number of processes of one as it runs."""
    systemctl("set-property", "--runtime", f"{unit}.scope", f"TasksMax={pids}")


def kill_rest(units: Iterable[str]) -> None:
    """Kill what processes that have ended, or are to, have left in their scopes."""
    scopes = [f"{unit}.scope" for unit in units]
    if scopes:
        systemctl("kill", "--signal=SIGKILL", *scopes, check=False)


def lacked_memory(unit: str) -> bool:
    """Tell whether the kernel has ended a process for want of memory, until its next start."""
    said = systemctl("show", "--property=Result", f"{unit}.scope", check=False)
    return said.strip() == "Result=oom-kill"


def is_launching(pid: int) -> bool:
    """Tell whether a process is the launcher still, which is root's: no program is."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return "\nUid:\t0\t" in status
