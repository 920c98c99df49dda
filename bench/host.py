"""The test host of a bench, provisioned by the documented playbooks."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from devtool import certificates, shell, testhost
from devtool.paths import ROOT, VENV_BIN


class BenchError(Exception):
    """Something that is measured did not work; the message holds what it printed."""


class Host:
    """A test host of this name, provisioned by the documented playbooks."""

    def __init__(self, name: str, work: Path, stacks: Sequence[str], **settings: Any) -> None:
        self.name = name
        self.inventory = work / "inventory.json"
        self.has(stacks, **settings)
        self._nothing = work / "nothing.yml"
        self._nothing.write_text("- {hosts: all, gather_facts: false, tasks: [{meta: noop}]}\n")

    def has(self, stacks: Sequence[str], **settings: Any) -> None:
        """Have the next playbook bring these stacks."""
        variables = {
            "ansible_connection": "community.docker.docker",
            "ansible_user": "root",
            "moorage_extra_ca_bundle": certificates.extra_bundle(),
            **settings,
        }
        member: dict[str, Any] = {"hosts": {self.name: {}}}
        everything = {"hosts": {self.name: variables}, "children": dict.fromkeys(stacks, member)}
        self.inventory.write_text(json.dumps({"all": everything}))

    def create(self) -> None:
        """Start it from nothing, or as it was left."""
        testhost.create(testhost.Spec(self.name, "bench"))

    def destroy(self) -> None:
        """Remove it."""
        testhost.destroy(self.name)

    @property
    def address(self) -> str:
        """Where it can be reached from this machine."""
        host = testhost.find(self.name)
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

    def run(self, *argv: str) -> str:
        """Run a program on the host and return what it printed."""
        done = subprocess.run(
            ["docker", "exec", self.name, *argv], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchError(f"{' '.join(argv)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def python(self, script: Path, *arguments: str, within: Sequence[str] = ()) -> str:
        """Run one of our scripts on the host, by a command there if need be; return its output."""
        argv = ["docker", "exec", "-i", self.name, *within, "python3", "-", *arguments]
        text = script.read_text(encoding="utf-8")
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{script.name} {arguments}\n{done.stdout}{done.stderr}")
        return done.stdout

    def put(self, source: Path, target: str) -> None:
        """Copy a file to the host."""
        subprocess.run(["docker", "cp", "-q", str(source), f"{self.name}:{target}"], check=True)
