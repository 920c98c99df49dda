"""Networks of a stack on a real engine: made, kept, replaced by others, and never changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, docker

from moorage.deploy.planning import operations
from moorage.deploy.release import ReleaseError, read_release

FIRST, SECOND = "10.213.0.0/28", "10.213.0.16/28"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    try:
        yield made
    finally:
        made.clear()


def network(subnet: str, **more: Any) -> dict[str, Any]:
    return {"ipam": {"config": [{"subnet": subnet}]}, **more}


def store(rig: Rig, key: str, address: str) -> dict[str, Any]:
    entry = {"networks": {key: {"ipv4_address": address}}}
    found: dict[str, Any] = rig.service("store", entry=entry, rolled=False)
    return found


def app(rig: Rig, key: str, script: str = "exec sleep 600") -> dict[str, Any]:
    found: dict[str, Any] = rig.service("app", script, entry={"networks": {key: {}}})
    return found


def names(rig: Rig) -> list[str]:
    label = f"label=com.docker.compose.project={rig.stack}"
    found = docker("network", "ls", "--format", "{{.Name}}", "--filter", label).split()
    return sorted(name.removeprefix(f"{rig.stack}_") for name in found)


def address(rig: Rig, key: str) -> str:
    path = f'{{{{(index .NetworkSettings.Networks "{rig.stack}_{key}").IPAddress}}}}'
    return str(docker("inspect", "--format", path, f"{rig.stack}-store"))


def test_a_fixed_address_stays_with_its_service_when_it_is_replaced(rig: Rig) -> None:
    first = rig.release(
        store(rig, "n", "10.213.0.9"), app(rig, "n"), networks={"n": network(FIRST)}
    )
    assert rig.activate(first).outcome == "activated"
    before = rig.containers()
    changed = {**store(rig, "n", "10.213.0.9"), "script": "exec sleep 601"}
    second = rig.release(changed, app(rig, "n", "exec sleep 601"), networks={"n": network(FIRST)})
    assert rig.activate(second).outcome == "activated"
    after = rig.containers()
    assert address(rig, "n") == "10.213.0.9"
    assert all(before[name].id != after[name].id for name in ("store", "app"))


@pytest.mark.parametrize(
    ("described", "key"),
    [
        (network(SECOND), "ipam"),
        ({}, "ipam"),
        (network(FIRST, internal=True), "internal"),
    ],
)
def test_a_network_in_use_is_not_changed(rig: Rig, described: dict[str, Any], key: str) -> None:
    first = rig.release(app(rig, "n"), networks={"n": network(FIRST)})
    assert rig.activate(first).outcome == "activated"
    other = rig.release(app(rig, "n", "exec sleep 601"), networks={"n": described})
    said = f"`{key}` of the network {rig.stack}_n otherwise than release {first}"
    found = read_release(rig.layout, other)
    with pytest.raises(ReleaseError, match=said):
        operations(rig.layout, found, (), rig.driver, rig.edge)
    outcome = rig.activate(other)
    assert (outcome.outcome, outcome.changed) == ("failed", False)
    assert said in outcome.message and "another key in compose.yml" in outcome.message
    # What only lies beside it may change.
    labelled = rig.release(app(rig, "n"), networks={"n": network(FIRST, labels={"a": "b"})})
    assert rig.activate(labelled).outcome == "activated"


def test_under_another_key_the_new_network_takes_the_place_of_the_old_one(rig: Rig) -> None:
    first = rig.release(store(rig, "n", "10.213.0.9"), networks={"n": network(FIRST)})
    assert rig.activate(first).outcome == "activated"
    assert names(rig) == ["n"]
    second = rig.release(store(rig, "m", "10.213.0.25"), networks={"m": network(SECOND)})
    assert rig.activate(second).outcome == "activated"
    assert names(rig) == ["m"] and address(rig, "m") == "10.213.0.25"
    # And back, by the release that is still there.
    assert rig.activate(first).outcome == "activated"
    assert names(rig) == ["n"] and address(rig, "n") == "10.213.0.9"


def test_a_network_that_somebody_else_uses_stays(rig: Rig) -> None:
    first = rig.release(app(rig, "n"), networks={"n": network(FIRST)})
    assert rig.activate(first).outcome == "activated"
    guest = f"{rig.stack}-guest"
    image, command = "moorage/base:trixie", ("sleep", "600")
    docker("run", "-d", "--name", guest, "--network", f"{rig.stack}_n", image, *command)
    try:
        second = rig.release(app(rig, "m"), networks={"m": network(SECOND)})
        assert rig.activate(second).outcome == "activated"
        assert names(rig) == ["m", "n"]
    finally:
        docker("rm", "--force", guest)


def test_a_release_that_does_not_get_well_leaves_no_network(rig: Rig) -> None:
    first = rig.release(app(rig, "n"), networks={"n": network(FIRST)})
    assert rig.activate(first).outcome == "activated"
    second = rig.release(app(rig, "m", "exit 3"), networks={"m": network(SECOND)})
    assert rig.activate(second, gate_timeout=3.0).outcome == "restored"
    assert names(rig) == ["n"]


def test_none_is_left_where_nothing_describes_one(rig: Rig) -> None:
    first = rig.release(app(rig, "n"), networks={"n": network(FIRST)})
    assert rig.activate(first).outcome == "activated"
    alone = rig.release(rig.service("app", "exec sleep 601", entry={"network_mode": "none"}))
    assert rig.activate(alone).outcome == "activated"
    assert names(rig) == []
