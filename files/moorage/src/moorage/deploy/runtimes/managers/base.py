"""What is asked of whatever manages the processes of a host."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from moorage.common.engine import RuntimeFault as RuntimeFault
from moorage.deploy.release import Release
from moorage.release.native import Process

# Of a journal: 2026-11-30T06:00:00.123456+00:00 HOST IDENTIFIER[4711]: what was said
_STAMPED = re.compile(r"(\S+) \S+ [^:\s]+: ?(.*)", re.DOTALL)


def timed(line: str) -> str:
    """Return a line of a log with when it was written in front, - where that is not known."""
    found = _STAMPED.fullmatch(line)
    return f"{found[1]} {found[2]}" if found else f"- {line}"


@dataclass(frozen=True)
class Look:
    """How a process is, in words of an instance: running, restarting, exited or dead.

    ``health`` and ``health_log`` are an instance's, empty where its manager does not check.
    ``dead`` is what its manager has given up; ``pid`` is 0 where none runs. Moments are as in
    RFC 3339, empty where there is none.
    """

    state: str
    pid: int = 0
    exit_code: int = 0
    restarts: int = 0
    started_at: str = ""
    finished_at: str = ""
    out_of_memory: bool = False
    refused: str = ""
    health: str = ""
    health_log: tuple[str, ...] = ()


class Manager(Protocol):
    """Manages processes by the names that they have as units, without .service.

    Every method raises RuntimeFault where it cannot be asked or refuses. Times are in seconds.
    """

    def install(self, release: Release, processes: Mapping[str, Process]) -> None:
        """Have it know the processes of these keys of the release; starts none.

        That holds from `start` or `settle` on.
        """

    def remove(self, units: Sequence[str]) -> None:
        """Have it know them no more, once it was told to `settle`; those that run are killed."""

    def settle(self) -> None:
        """Have it take in what was installed and removed."""

    def look(self, units: Collection[str]) -> dict[str, Look]:
        """Say how each of them is that it knows."""

    def start(self, units: Sequence[str], *, timeout_seconds: float) -> None:
        """Start them, and at every boot; returns when they were executed, well or not."""

    def stop(self, units: Sequence[str], *, timeout_seconds: float) -> None:
        """Stop them side by side, each with its own grace."""

    def restart(self, unit: str, *, timeout_seconds: float) -> None:
        """Stop it with its grace, and start it."""

    def hold(self, units: Sequence[str]) -> None:
        """Have those that somebody has stopped stay so over a boot."""

    def forgive(self, units: Sequence[str]) -> None:
        """Have the pauses between restarts of those that run well begin anew."""

    def limit(self, unit: str, pids: int) -> None:
        """Limit the number of its processes as it runs."""

    def logs(self, unit: str, lines: int, times: bool) -> list[str]:
        """Return the last lines that it has written; with ``times`` each as `timed` has it."""

    def follow(self, unit: str, lines: int, times: bool) -> list[str]:
        """Return the command line that prints its output as it is written."""

    def by_hand(self, verb: str, unit: str) -> list[str]:
        """Return the command line by which a person does so: start, stop or restart."""
