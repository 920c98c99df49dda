"""The four ways in which one application is updated on a host."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.host import BenchError, Host
from devtool.paths import ROOT

HERE = ROOT / "bench" / "rollout"


@dataclass(frozen=True)
class Turn:
    """One change: seconds of the whole, from when to when the host was at it, and its phases."""

    whole: float | None
    began: float
    ended: float
    phases: Mapping[str, float] = field(default_factory=dict)

    @property
    def host(self) -> float:
        """Seconds on the host alone."""
        return self.ended - self.began


class Moorage:
    """A stack that Moorage updates; ``name`` and ``topology`` tell which and how."""

    def __init__(self, host: Host, name: str, topology: str, port: int) -> None:
        self.host, self.name, self.port = host, name, port
        self.label = f"Moorage, {topology}"
        self._container = f"{name}-web" if topology == "containers" else f"{name}-unified"
        self._marks = itertools.count(int(time.time()))
        self._now = {"BUILD": "a", "MARK": "0"}

    def _play(self, playbook: str) -> tuple[float, str]:
        variables = {"stack": self.name, f"{self.name}_variables": self._now}
        return self.host.play(f"playbooks/{playbook}.yml", **variables)

    def prepare(self) -> dict[str, str]:
        """Have both builds' images on the host; return their references by build."""
        images = {}
        for build in ("b", "a"):
            self._now = {"BUILD": build, "MARK": "0"}
            self._play("update")
            found = self.host.run("docker", "inspect", self._container, "-f", "{{.Config.Image}}")
            images[build] = found.strip()
        return images

    def change(self) -> Turn:
        """Update to a release that was never there, with another image."""
        build = "a" if self._now["BUILD"] == "b" else "b"
        self._now = {"BUILD": build, "MARK": str(next(self._marks))}
        return self._turn("update", "update")

    def no_change(self) -> tuple[float, bool]:
        """Update to what runs already; return the seconds and whether anything was restarted."""
        before = self._identity()
        seconds, said = self._play("update")
        return seconds, self._identity() != before or "changed=0" not in said

    def back(self) -> Turn:
        """Go back to the release before."""
        return self._turn("rollback", "rollback")

    def _turn(self, playbook: str, action: str) -> Turn:
        before = self._identity()
        whole, said = self._play(playbook)
        receipt = json.loads(self.host.run("cat", f"/opt/{self.name}/current/receipt.json"))
        if self._identity() == before or receipt["action"] != action:
            raise BenchError(f"{playbook} of {self.name} changed nothing:\n{said}")
        return Turn(whole, receipt["started"], receipt["finished"], receipt["phases"])

    def _identity(self) -> str:
        return self.host.run("docker", "inspect", self._container, "-f", "{{.Id}} {{.State.Pid}}")


class Compose:
    """The application in a Compose file of its own, changed by commands on the host."""

    def __init__(self, host: Host, label: str, file: str, port: int, *, stop: bool) -> None:
        self.host, self.label, self.port = host, label, port
        self._file = f"/root/{file}"
        self._verbs = [["stop"]] * stop + [["up", "-d"]]
        self._marks = itertools.count(int(time.time()))
        self._images: dict[str, str] = {}
        self._now: tuple[str, str] = ("a", "0")
        self._before = self._now

    def prepare(self, images: dict[str, str]) -> None:
        """Start it from the images that Moorage has built."""
        self._images = images
        self.host.put(HERE / Path(self._file).name, self._file)
        self._up([["up", "-d"]])

    def change(self) -> Turn:
        """Go to the other image and new settings."""
        self._before = self._now
        self._now = ("b" if self._now[0] == "a" else "a", str(next(self._marks)))
        return self._up(self._verbs)

    def no_change(self) -> tuple[float, bool]:
        """Give the same commands again; return the seconds and whether it was restarted."""
        before = self._identity()
        return self._up(self._verbs).host, self._identity() != before

    def back(self) -> Turn:
        """Go back to the image and settings before."""
        self._now, self._before = self._before, self._now
        return self._up(self._verbs)

    def _up(self, verbs: list[list[str]]) -> Turn:
        build, mark = self._now
        compose = f"IMAGE={self._images[build]} MARK={mark} docker compose -f {self._file}"
        steps = " && ".join(f"{compose} {' '.join(verb)} >/dev/null 2>&1" for verb in verbs)
        # The clock is read on the host: reaching it takes time of its own.
        said = self.host.run("sh", "-c", f"date +%s.%N && {steps} && date +%s.%N").split()
        return Turn(None, float(said[0]), float(said[1]))

    def _identity(self) -> str:
        project = Path(self._file).stem.replace("_", "")
        return self.host.run(
            "docker", "inspect", f"{project}-web-1", "-f", "{{.Id}} {{.State.Pid}}"
        )
