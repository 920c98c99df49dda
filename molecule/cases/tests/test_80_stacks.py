"""Two stacks on one host: ports that change hands between them, and what is one's alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pilot_site import BASE, PORT, SOURCE, Pilot, marked
from playbook import Played

# It is rolled out before pilot where nothing says otherwise.
PIER, PIER_PORT = "harbour-pier", 8001


class Two:
    """A host with pilot and with a second stack of the same making."""

    def __init__(self, pilot: Pilot, inventory: Path) -> None:
        self.pilot = pilot
        self.inventory = inventory
        directory = pilot.description.directory / PIER
        directory.mkdir()
        for name in ("Dockerfile", "app.py"):
            (directory / name).write_bytes((SOURCE / "pilot" / name).read_bytes())
        keys = {"ports": [f"{PIER_PORT}:8000"], "volumes": ["state:/state"]}
        services = {"web": {**pilot.description.web, **keys}}
        described = {"name": PIER, "services": services, "volumes": {"state": None}}
        (directory / "compose.yml").write_text(json.dumps(described))
        pilot.description.settings["harbour_pier_topology"] = "containers"
        pilot.description.settings["harbour_pier_environment"] = {"web": {"MARK": "pier"}}
        marked(pilot, "pilot")

    def run(self, playbook: str, **more: object) -> Played:
        return self.pilot.run(playbook, "-i", str(self.inventory), **more)

    def update(self, stack: str) -> Played:
        return self.run("playbooks/update.yml", stack=stack)

    def publish(self, *, pilot: int, pier: int) -> None:
        self.pilot.description.settings["pilot_publish"] = {"web": [f"{pilot}:8000"]}
        self.pilot.description.settings["harbour_pier_publish"] = {"web": [f"{pier}:8000"]}

    def started(self) -> list[str]:
        names = ("pilot-web", f"{PIER}-web")
        return [self.pilot.sh(f"docker inspect -f '{{{{.State.StartedAt}}}}' {n}") for n in names]

    def marks(self, *ports: int) -> list[str]:
        return [self.pilot.ask("/", port=port).text.split()[0] for port in ports]


@pytest.fixture
def two(pilot: Pilot, tmp_path: Path) -> Iterator[Two]:
    inventory = tmp_path / "more.yml"
    inventory.write_text(
        json.dumps({PIER.replace("-", "_"): {}, PIER: {"hosts": {pilot.name: {}}}})
    )
    try:
        yield Two(pilot, inventory)
    finally:
        pilot.sh(f"! test -e /opt/{PIER} || moorage remove {PIER} --data --confirm {PIER}")


def leaks(two: Two, stack: str) -> None:
    """A file of a stack that has got out is for its own user alone, and not for pilot's."""
    two.pilot.sh(f"docker exec {stack}-web sh -c 'umask 077; echo own > /state/file'")
    two.pilot.sh(f"cp -p /opt/{stack}/data/state/file /tmp/leaked")
    own, other = (
        two.pilot.sh(f"docker exec {name}-web id -u")
        for name in (stack, two.pilot.description.stack)
    )
    read = "setpriv --reuid {0} --regid {0} --clear-groups cat /tmp/leaked"
    assert two.pilot.sh(read.format(own)) == "own"
    refused = two.pilot.host.run(read.format(other))
    assert refused.rc != 0 and "Permission denied" in refused.stderr


def test_ports_change_hands_between_stacks(two: Two) -> None:
    two.run("site.yml").ok  # noqa: B018
    assert two.marks(PORT, PIER_PORT) == ["pilot", "pier"]
    before = two.started()
    leaks(two, PIER)
    # What is there keeps its user, whatever it was: nothing is made anew for it.
    assert two.run("site.yml").ok.tasks == 2
    assert two.started() == before

    # Each wants the other's: no order serves that, and nothing is touched.
    two.publish(pilot=PIER_PORT, pier=PORT)
    told = two.run("playbooks/update.yml", stack="all")
    text = " ".join(told.output.split())
    assert told.status != 0
    assert f"port {PORT}/tcp, wanted by {PIER} (web), is held by the stack pilot (web)" in text
    assert f"port {PIER_PORT}/tcp, wanted by pilot (web), is held by the stack {PIER} (web)" in text
    assert "for the time being" in text and "update.yml -e stack=pilot" in text
    # One alone: the other one is not even planned.
    told = two.update(PIER)
    assert told.status != 0
    assert "is held by another stack" in " ".join(told.output.split())
    assert two.started() == before and two.marks(PORT, PIER_PORT) == ["pilot", "pier"]

    # One makes room: then one run serves both, in the order that it takes.
    two.publish(pilot=8002, pier=PORT)
    two.run("playbooks/update.yml", stack="all").ok  # noqa: B018
    assert two.marks(8002, PORT) == ["pilot", "pier"]
    # Going back asks nobody for a plan, and is told the same.
    back = two.pilot.host.run("moorage rollback pilot")
    assert back.rc != 0
    assert f"port {PORT}/tcp, wanted by pilot (web), is held" in " ".join(
        (back.stdout + back.stderr).split()
    )
    assert two.marks(8002, PORT) == ["pilot", "pier"]
    assert two.pilot.sh(f"test -e {BASE}/.rollout.json && echo left || true") == ""
