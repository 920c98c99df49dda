"""Run a playbook against the scenario's hosts, as an operator would, and read what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_RECAP = re.compile(r"^(\S+)\s*: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.M)


@dataclass(frozen=True)
class Played:
    """A finished run: its exit status, what it printed, and its recap."""

    status: int
    output: str

    def count(self, what: str) -> int:
        """Return the sum of ``ok``, ``changed`` or ``failed`` over all hosts."""
        column = {"ok": 1, "changed": 2, "unreachable": 3, "failed": 4}[what]
        lines = list(_RECAP.finditer(self.output))
        assert lines, f"no recap in:\n{self.output}"
        return sum(int(line[column + 1]) for line in lines)

    @property
    def tasks(self) -> int:
        """How many tasks were played on hosts: those that were skipped do not count."""
        return self.count("ok")

    @property
    def ok(self) -> Played:
        """This run, after making sure that it went well."""
        assert self.status == 0, self.output
        return self


def command(
    playbook: str, *options: str, root: Path = ROOT, **variables: Any
) -> tuple[list[str], dict[str, str]]:
    """Return arguments and environment that run ``playbook`` with extra ``variables``."""
    argv = ["ansible-playbook", playbook, "-i", os.environ["MOLECULE_INVENTORY_FILE"], *options]
    # As the scenario's own converge: .config/molecule/config.yml.
    variables["moorage_extra_ca_bundle"] = os.environ.get("MOORAGE_EXTRA_CA_BUNDLE", "")
    argv += ["--extra-vars", json.dumps(variables)]
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        # It would win, and Molecule sets it where colours are wanted of itself.
        "ANSIBLE_FORCE_COLOR": "0",
    }
    return argv, environment


def play(playbook: str, *options: str, root: Path = ROOT, **variables: Any) -> Played:
    """Run ``playbook`` (relative to the checkout ``root``) with extra ``variables``."""
    argv, environment = command(playbook, *options, root=root, **variables)
    done = subprocess.run(
        argv,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    return Played(done.returncode, done.stdout + done.stderr)
