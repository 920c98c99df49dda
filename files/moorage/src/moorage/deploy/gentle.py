"""Starting what is new without taking the processors' time from what serves.

By the weight of its control group and not by `docker update`: that is part of what the engine keeps
of a container, and would stay as it is after a rollout that was interrupted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from moorage.common.files import discard, write_atomically
from moorage.common.readers import read_note

#: What starts slowly gets all of its share again after this time.
LONGEST_SECONDS = 15.0
_SHARE = 4
_CGROUPS = Path("/sys/fs/cgroup")


class Gentle:
    """Lowers the weights of containers and raises them again; one that is gone is no matter.

    ``record`` is a file that tells what the weights were, for who comes after an interruption.
    It has to be lost with a reboot, as the control groups are.
    """

    def __init__(self, record: Path, cgroups: Path = _CGROUPS, proc: Path = Path("/proc")) -> None:
        self._record = record
        self._cgroups = cgroups
        self._proc = proc
        self._until = 0.0

    def begin(self, pids: Iterable[int]) -> None:
        """Give the containers of these processes a quarter of their weight."""
        known = self._known()
        self._until = time.monotonic() + LONGEST_SECONDS
        for pid in pids:
            with suppress(OSError, ValueError):
                path = self._weight(pid)
                if str(path) in known:
                    continue
                usual = int(path.read_text())
                # Noted before it is changed: what is noted and was not changed harms nobody.
                known[str(path)] = usual
                self._record.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self._record, json.dumps(known) + "\n")
                path.write_text(f"{max(2, usual // _SHARE)}\n")

    def end(self) -> None:
        """Give back what was taken."""
        for path, usual in self._known().items():
            with suppress(OSError):
                if Path(path).is_relative_to(self._cgroups):
                    Path(path).write_text(f"{usual}\n")
        discard(self._record)

    def end_when_due(self) -> None:
        """Give back what was taken for long enough."""
        if self._until and time.monotonic() >= self._until:
            self._until = 0.0
            self.end()

    def _known(self) -> dict[str, int]:
        found = read_note(self._record).items()
        return {path: usual for path, usual in found if type(usual) is int}

    def _weight(self, pid: int) -> Path:
        """Return the file with the weight of a process's group (cgroups(7)); raises OSError."""
        weight = Path()
        for line in (self._proc / str(pid) / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if ".." in Path(path).parts or path == "/":
                raise FileNotFoundError(f"process {pid} is in no group of its own: {path}")
            if "cpu" in controllers.split(","):
                return self._cgroups / "cpu" / path.lstrip("/") / "cpu.shares"
            if not controllers:
                weight = self._cgroups / path.lstrip("/") / "cpu.weight"
        if not weight.is_file():
            raise FileNotFoundError(f"process {pid} has no weight")
        return weight
