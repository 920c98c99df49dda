"""Fixed addresses and the subnets that they are in: refused while planning, in both topologies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from moorage.compose.errors import ComposeError

Render = Callable[..., Any]
TOPOLOGIES = ("containers", "unified")

STACK = """
x-moorage: {unified: {build: .}}
services:
  web: {build: ., command: [web], networks: [n]}
  db: {image: db, networks: {n: {ipv4_address: 172.20.0.30}}}
  store: {image: store, networks: {n: {ipv4_address: 172.20.0.40}}}
networks:
  n: {ipam: {config: [{subnet: 172.20.0.0/16}]}}
"""


def problems(render: Render, text: str, topology: str) -> list[str]:
    try:
        render(text, topology=topology)
    except ComposeError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_service_with_an_address_is_replaced_in_place_and_others_roll(
    render: Render, topology: str
) -> None:
    rendering = render(STACK, topology=topology).rendering
    rolled = {unit.service: unit.rolled for unit in rendering.units}
    own = "web" if topology == "containers" else "unified"
    assert rolled == {own: True, "db": False, "store": False}


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "172.20.0.30",
            "172.21.0.30",
            "services.db.networks.n.ipv4_address: is not in 172.20.0.0/16",
        ),
        (
            "172.20.0.30",
            "172.20.0.1",
            "services.db.networks.n.ipv4_address: is the network's gateway",
        ),
        ("172.20.0.30", "172.20.0.0", "services.db.networks.n.ipv4_address: is the network itself"),
        (
            "172.20.0.30",
            "172.20.255.255",
            "services.db.networks.n.ipv4_address: is the network's broad",
        ),
        ("172.20.0.30", "the thirtieth", "services.db.networks.n.ipv4_address: is no address"),
        ("172.20.0.40", "172.20.0.30", "services.store.networks.n.ipv4_address: is db's already"),
        (
            "subnet: 172.20.0.0/16",
            "subnet: 172.20.0.0/16, gateway: 172.20.0.30",
            "services.db.networks.n.ipv4_address: is the network's gateway",
        ),
        (
            "subnet: 172.20.0.0/16",
            "subnet: 172.20.0.0/16, ip_range: 172.20.0.40/31",
            "services.store.networks.n.ipv4_address: is the network's gateway",
        ),
        (
            "subnet: 172.20.0.0/16",
            "subnet: 172.20.0.0/16, aux_addresses: {printer: 172.20.0.40}",
            "services.store.networks.n.ipv4_address: is set aside as printer",
        ),
        ("n: {ipam: {config: [{subnet: 172.20.0.0/16}]}}", "n: {}", "needs a subnet"),
        (
            "172.20.0.0/16",
            "172.20.0.1/16",
            "networks.n.ipam.config: 172.20.0.1/16 has host bits set",
        ),
        (
            "subnet: 172.20.0.0/16",
            "subnet: 172.20.0.0/16, gateway: 10.0.0.1",
            "networks.n.ipam.config: 10.0.0.1 is not in 172.20.0.0/16",
        ),
    ],
)
def test_addresses_that_the_engine_would_refuse(
    render: Render, topology: str, old: str, new: str, said: str
) -> None:
    assert problems(render, STACK, topology) == []
    found = problems(render, STACK.replace(old, new), topology)
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_two_networks_of_a_stack_lie_apart(render: Render, topology: str) -> None:
    more = STACK.replace("web: {", "web: {").replace("networks: [n]", "networks: [n, m]")
    text = f"{more}  m: {{ipam: {{config: [{{subnet: SUBNET}}]}}}}\n"
    assert problems(render, text.replace("SUBNET", "172.21.0.0/16"), topology) == []
    (found,) = problems(render, text.replace("SUBNET", "172.20.7.0/24"), topology)
    assert found.startswith("networks.") and "overlaps" in found


def test_a_range_keeps_other_containers_off_the_fixed_addresses(render: Render) -> None:
    text = STACK.replace("subnet: 172.20.0.0/16", "subnet: 172.20.0.0/16, ip_range: 172.20.1.0/24")
    for topology in TOPOLOGIES:
        assert problems(render, text, topology) == []


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_an_address_of_an_own_service_is_its_container_s(render: Render, topology: str) -> None:
    text = STACK.replace("networks: [n]}", "networks: {n: {ipv4_address: 172.20.0.20}}}")
    rendering = render(text, topology=topology).rendering
    assert not any(unit.rolled for unit in rendering.units)
    twice = text.replace("services:", "services:\n  job: {build: ., command: [j], networks: JOB}")
    same = twice.replace("JOB", "{n: {ipv4_address: 172.20.0.20}}")
    found = problems(render, same, topology)
    # Processes of one container have one address; containers cannot.
    assert [p for p in found if "is job's already" in p] == found
    assert bool(found) is (topology == "containers")
    other = problems(render, twice.replace("JOB", "{n: {ipv4_address: 172.20.0.21}}"), topology)
    assert bool(other) is (topology == "unified")


def test_an_external_network_is_not_judged(render: Render) -> None:
    text = STACK.replace("n: {ipam: {config: [{subnet: 172.20.0.0/16}]}}", "n: {external: true}")
    assert problems(render, text, "containers") == []


def test_a_fixed_address_has_no_replicas(render: Render) -> None:
    text = STACK.replace("db: {image: db,", "db: {image: db, scale: 2,")
    for topology in TOPOLOGIES:
        assert problems(render, text, topology)
