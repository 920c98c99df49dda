"""The test host of the bench, and the four ways in which one application is updated on it."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devtool import certificates, shell, testhost
from devtool.paths import ROOT, VENV_BIN

HERE = ROOT / "bench" / "rollout"
NAME = "bench-rollout"


class BenchError(Exception):
    """Something that is measured did not work; the message holds what it printed."""


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


class Host:
    """A test host with both stacks, provisioned by the documented playbooks."""

    def __init__(self, work: Path) -> None:
        self.inventory = work / "inventory.json"
        variables = {
            "ansible_connection": "community.docker.docker",
            "ansible_user": "root",
            "moorage_extra_ca_bundle": certificates.extra_bundle(),
            "moorage_stacks_dirs": [str(HERE / "stacks")],
            "skiff_topology": "containers",
            "barge_topology": "unified",
        }
        member: dict[str, Any] = {"hosts": {NAME: {}}}
        everything = {"hosts": {NAME: variables}, "children": {"skiff": member, "barge": member}}
        self.inventory.write_text(json.dumps({"all": everything}))
        self._nothing = work / "nothing.yml"
        self._nothing.write_text("- {hosts: all, gather_facts: false, tasks: [{meta: noop}]}\n")

    def create(self) -> None:
        """Start it from nothing, or as it was left."""
        testhost.create(testhost.Spec(NAME, "bench"))

    @staticmethod
    def destroy() -> None:
        """Remove it."""
        testhost.destroy(NAME)

    @property
    def address(self) -> str:
        """Where it can be reached from this machine."""
        host = testhost.find(NAME)
        assert host is not None
        return host.address

    def play(self, playbook: str | Path, **variables: Any) -> tuple[float, str]:
        """Run a playbook; return the seconds it took and what it printed."""
        argv = [str(VENV_BIN / "ansible-playbook"), "-i", str(self.inventory), str(playbook)]
        argv += ["--extra-vars", json.dumps(variables)] if variables else []
        began = time.monotonic()
        done = subprocess.run(
            argv,
            cwd=ROOT,
            env=shell.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - began
        if done.returncode:
            raise BenchError(f"{' '.join(argv)}\n{done.stdout}{done.stderr}")
        return seconds, done.stdout

    def start_up(self) -> float:
        """Return the seconds of a playbook that does nothing."""
        return self.play(self._nothing)[0]

    @staticmethod
    def run(*argv: str) -> str:
        """Run a program on the host and return what it printed."""
        done = subprocess.run(
            ["docker", "exec", NAME, *argv], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchError(f"{' '.join(argv)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def put(self, source: Path, target: str) -> None:
        """Copy a file to the host."""
        subprocess.run(["docker", "cp", "-q", str(source), f"{NAME}:{target}"], check=True)


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
