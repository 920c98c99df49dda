"""From processes of the host to containers and back, behind the edge that is a unit of the host."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from chatbot_site import STACK as CHATBOT
from chatbot_site import census, converse, read_again, said
from ferry_site import STACK as FERRY
from playbook import play
from support import Machine
from update_receipts import check, newest
from update_site import STACK as HARBOUR
from update_site import Harbour, Operator

Figure = Callable[[str], None]
# What `auto` has picked here: another kind would refuse visitors while it takes the ports over.
EDGE: dict[str, Any] = {"edge_kind": "native"}
CONTAINERS = {
    HARBOUR: {f"{HARBOUR}-{name}" for name in ("migrate", "web", "worker")},
    CHATBOT: {f"{CHATBOT}-{name}" for name in ("migrate", "postgres", "server", "task", "task-2")},
}


@pytest.fixture(scope="module", autouse=True)
def engine(operator: Operator) -> Iterator[None]:
    """Bring an engine and the images that it takes; nobody notices, and nothing is touched."""
    site = Harbour("moorage-host-own")
    before = {stack: site.runs(stack) for stack in (HARBOUR, CHATBOT, FERRY)}
    wanted: dict[str, Any] = {f"{stack}_topology": "containers" for stack in CONTAINERS}
    with site.visited() as visitors:
        play("playbooks/provision.yml", **wanted, **EDGE).ok  # noqa: B018
    visitors.seen.assert_none_failed(200)
    assert {stack: site.runs(stack) for stack in before} == before
    yield
    operator.topology = "host"


def traces(machine: Machine, stack: str) -> dict[str, set[str]]:
    """Return everything on the host by which one form differs from the other."""
    asked = {
        "containers": "docker ps -a --format '{{.Names}}'",
        "networks": "docker network ls --format '{{.Name}}'",
        "units": "systemctl list-units --all --plain --no-legend | cut -d' ' -f1",
        "unit files": "systemctl list-unit-files --no-legend | cut -d' ' -f1",
        "wanted": "find /etc/systemd/system -type l -printf '%P\\n'",
        "files": "ls /etc/logrotate.d /etc/tmpfiles.d",
        "records": f"find /opt/{stack}/instances /opt/{stack}/processes -name '*.json'",
        "own": f"find /opt/{stack}/config /run/moorage/{stack} -mindepth 1 -maxdepth 1 "
        # Files for throw-away processes: there whoever made the first one.
        "! -name launch",
    }
    found = {}
    for what, command in asked.items():
        lines = machine.host.run(command).stdout.splitlines()
        # An update goes on in another slot.
        found[what] = {re.sub(r"(-\d+)[ab]\b", r"\1", line) for line in lines if stack in line}
    return found


def assert_in_containers(machine: Machine, stack: str) -> None:
    """Make sure that a stack is in containers alone, and that its status says so."""
    there = traces(machine, stack)
    assert there["containers"] == CONTAINERS[stack]
    assert there["records"] == set()
    gateway = {f"moorage-gateway-{stack}.service"}
    assert there["units"] == there["unit files"] == gateway
    assert there["own"] == {f"/run/moorage/{stack}/gateway"}
    shown = machine.status(stack)
    assert {service["kind"] for service in shown.values()} == {"container"}
    assert {service["state"] for service in shown.values()} == {"RUNNING", "EXITED"}


def assert_as_before(machine: Machine, stack: str, before: dict[str, set[str]]) -> None:
    """Make sure that a stack is as it was before it was in containers."""
    assert traces(machine, stack) == before
    shown = machine.status(stack)
    assert {service["kind"] for service in shown.values()} == {"process"}


def test_two_stacks_there_and_back_while_they_are_visited(
    site: Harbour, operator: Operator, figure: Figure
) -> None:
    before, runs = {stack: traces(site, stack) for stack in CONTAINERS}, site.runs(FERRY)
    release, pictures, beats = site.release(HARBOUR), sums(site), site.beats()
    token = converse(site, "Where do you keep this?")
    data, secret = census(site), site.sh(f"sha256sum /opt/{CHATBOT}/secrets/*_*")
    for topology in ("containers", "host"):
        operator.topology = topology
        began = time.monotonic()
        with site.visited() as visitors, read_again(site, token) as answered:
            both: dict[str, Any] = {"stack": "all", "chatbot_topology": topology}
            operator.update(site.name, **both, **EDGE).ok  # noqa: B018
            took = time.monotonic() - began
            visitors.wait_for_more(200)
        figure(f"both to {topology}: {took:.1f} s; harbour: {visitors.seen.summary()}")
        assert_waited(site, topology, answered, figure)
        # The same data and passwords, and who writes can.
        assert (census(site), site.sh(f"sha256sum /opt/{CHATBOT}/secrets/*_*")) == (data, secret)
        visitors.seen.assert_none_failed(1000)
        path, receipt = newest(site)
        check(site, path, receipt)
        assert (receipt["topology"], receipt["outcome"]) == (topology, "activated")
        # Where the machine had no time, the prober may have waited in vain, and says so.
        failed = receipt["requests"]["judged"]["failed"]
        assert failed == {} or receipt["too_busy"], receipt["requests"]
        assert receipt["edge"] == {"kind": "native"}
        if topology == "containers":
            assert_in_containers(site, HARBOUR)
            assert_in_containers(site, CHATBOT)
        # The worker is another one each time, and nothing of what they have written is lost.
        kept, beats = beats, site.beats()
        assert [beat.run for beat in beats[:-1]] == [beat.run for beat in kept]
        assert beats[-2].last <= beats[-1].first, "never two of them"
        assert pictures.items() <= sums(site).items()
        assert site.runs(FERRY) == runs
    assert site.release(HARBOUR) == release
    for stack, found in before.items():
        assert_as_before(site, stack, found)
    assert said(site, converse(site, "Who writes here now?"))


def assert_waited(machine: Machine, topology: str, answered: list[float], figure: Figure) -> None:
    """Make sure that chatbot's visitors have waited for as long as its receipt says, once."""
    path, receipt = newest(machine, CHATBOT)
    check(machine, path, receipt)
    assert (receipt["topology"], receipt["outcome"]) == (topology, "activated")
    # Asked in the new form, when the database had it.
    assert receipt["migrations"]["pending"] == []
    assert [gap["service"] for gap in receipt["in_place_gaps"]] == ["postgres"]
    away = receipt["in_place_gaps"][0]["seconds"]
    pauses = sorted(b - a for a, b in pairwise(sorted(answered)))
    figure(f"chatbot: {len(answered)} answers; longest pause {pauses[-1]:.1f} s, told {away:.1f} s")
    assert away - 2 < pauses[-1] < away + 2
    assert receipt["requests"]["in_place"]["failed"] == {}, receipt["requests"]


def sums(machine: Machine) -> dict[str, str]:
    """Return the checksums of harbour's pictures, by path."""
    shown = machine.sh("cd /opt/harbour/data/pictures && find . -type f -exec sha256sum {} +")
    return {path: value for value, path in map(str.split, shown.splitlines())}
