"""What an operator types and reads: slips, runs side by side, signs that act in a log."""

from __future__ import annotations

import json
import os
import subprocess

from pilot_site import BASE, Pilot
from playbook import ROOT
from support import wait_until


def test_a_slip_changes_nothing(pilot: Pilot) -> None:
    pilot.site().ok  # noqa: B018
    before = pilot.sh(f"readlink {BASE}/current")
    pilot.description.web["environment"] = {"X": "1"}
    played = pilot.update(sevice="web")
    assert played.status != 0
    assert "did you mean 'service'?" in " ".join(played.output.split())
    nothing_named = pilot.run("playbooks/update.yml")
    assert nothing_named.status != 0
    assert "this inventory has pilot" in " ".join(nothing_named.output.split())
    assert pilot.sh(f"readlink {BASE}/current") == before


def test_a_run_in_another_namespace_waits_and_says_for_whom(pilot: Pilot) -> None:
    """A run of a container that is called like this machine holds the stack; it is not dead."""
    program = (
        "import json, os; from moorage.common.claim import claim;"
        "print(json.dumps({**claim('update in a container', os.getpid()), 'token': 'theirs'}))"
    )
    made = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "python3", "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT / "files/moorage/src")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    held = json.dumps({**json.loads(made), "since": 4e9, "expires": 4e9})
    pilot.sh(f"umask 077; printf %s '{held}' > {BASE}/.reservation.json")
    try:
        pilot.description.web["environment"] = {"X": "2"}
        played = pilot.update(lock_wait=1)
        text = " ".join(played.output.split())
        assert played.status != 0
        assert "takes over" not in text
        assert "waits:" in text and "for: update in a container" in text
        assert "theirs" in pilot.sh(f"cat {BASE}/.reservation.json")
    finally:
        pilot.sh(f"rm -f {BASE}/.reservation.json")


def test_signs_that_act_are_shown_by_logs(pilot: Pilot) -> None:
    container = pilot.sh("docker ps --format '{{.Names}}' --filter name=pilot-web").split()[0]
    line = r"print(chr(27) + '[2J gnp' + chr(0x202e) + 'gnp.exe', flush=True)"
    pilot.sh(f'docker exec {container} sh -c "python3 -c \\"{line}\\" > /proc/1/fd/1"')

    def shown() -> bool:
        return r"\x1b[2J gnp\u202egnp.exe" in pilot.sh("moorage logs pilot web")

    wait_until("the line is in the log", shown, seconds=20)
    assert "\x1b" not in pilot.sh("moorage logs pilot web")
