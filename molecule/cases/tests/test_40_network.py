"""What the network around a stack does: neighbours, packet rules, addresses, ports of others."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import partial

import pytest
from pilot_site import Pilot
from support import outer, wait_until

REACHED = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
LISTEN = "import socket, time; s = socket.create_server(('', 9000)); time.sleep(600)"


class Neighbour:
    """Another machine on the host's network that sends what is for containers to the host."""

    def __init__(self, pilot: Pilot, networks: str) -> None:
        self.name, self.route = f"{pilot.name}-neighbour", [networks, "via", pilot.address]
        outer("exec", self.name, "ip", "route", "replace", *self.route)

    def reaches(self, address: str, port: int) -> bool:
        """Tell whether somebody takes a connection."""
        argv = ["docker", "exec", self.name, "python3", "-c", REACHED, address, str(port)]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def leave(self) -> None:
        """Take the route away again."""
        outer("exec", self.name, "ip", "route", "del", *self.route)


@pytest.fixture
def neighbour(pilot: Pilot) -> Iterator[Neighbour]:
    """A neighbour with a route to every network of containers."""
    made = Neighbour(pilot, "172.28.0.0/14")
    yield made
    made.leave()


def container_address(pilot: Pilot) -> str:
    """Return the address of the web container in its own network."""
    shown = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return pilot.sh(f"docker inspect -f '{shown}' pilot-web")


def succeeds(pilot: Pilot, command: str) -> bool:
    """Tell whether a command on the host ends well."""
    return bool(pilot.host.run(command).rc == 0)


def test_a_neighbour_reaches_published_ports_and_nothing_else(
    pilot: Pilot, neighbour: Neighbour
) -> None:
    pilot.site().ok  # noqa: B018
    address = container_address(pilot)
    pilot.sh(f'docker exec -d pilot-web python3 -c "{LISTEN}"')
    # From the host both are reached, and from container to container.
    for port in (8000, 9000):
        reached = f"python3 -c '{REACHED}' {address} {port}"
        wait_until("it listens", partial(succeeds, pilot, reached))
        assert not neighbour.reaches(address, port), "a neighbour routes to the container"
    assert not neighbour.reaches(address.rpartition(".")[0] + ".255", 8000)
    pilot.sh(
        "docker run -d --rm --name published -p 9001:9000 --entrypoint python3 "
        f"$(docker inspect -f '{{{{.Image}}}}' pilot-web) -c \"{LISTEN}\""
    )
    try:
        wait_until(
            "what is published on all addresses is reached",
            lambda: neighbour.reaches(pilot.address, 9001),
        )
        inside = pilot.sh("docker inspect -f '{{.NetworkSettings.IPAddress}}' published")
        assert not neighbour.reaches(inside, 9000)
    finally:
        pilot.sh("docker rm -f published")
    assert neighbour.reaches(pilot.address, 8000), "the edge is reached"
    pilot.sh("systemctl restart docker")
    assert not neighbour.reaches(address, 9000)
    assert "-A FORWARD -j MOORAGE" in pilot.sh("ip6tables-save -t mangle")


def test_flushed_packet_rules_are_told_and_mended(pilot: Pilot) -> None:
    pilot.site().ok  # noqa: B018
    runs = pilot.runs("pilot")
    pilot.sh("ip6tables -t mangle -F")
    assert "(the chain MOORAGE) for IPv6" in pilot.sh("moorage status pilot")
    pilot.sh("iptables -t nat -F; iptables -F; iptables -P FORWARD DROP")
    pilot.sh("iptables -t mangle -D FORWARD -j MOORAGE; iptables -t mangle -F MOORAGE")
    pilot.sh("iptables -t mangle -X MOORAGE")
    assert "the host's packet rules lack" in pilot.sh("moorage status pilot")
    pilot.site().ok  # noqa: B018
    assert pilot.ask("/").status == 200
    pilot.sh("iptables -P FORWARD ACCEPT")
    assert "packet rules" not in pilot.sh("moorage status pilot")
    assert pilot.runs("pilot") == runs, "no container was touched"


def test_an_address_that_is_gone_keeps_the_edge_from_nothing_else(pilot: Pilot) -> None:
    pilot.description.web["ports"] = ["8000:8000", "192.0.2.10:8080:8000"]
    ask = (
        "python3 -c 'import urllib.request as u; u.urlopen(\"http://192.0.2.10:8080/\", timeout=5)'"
    )
    # One that is not there yet is deployed all the same, and told.
    told = " ".join(pilot.site().ok.output.split())
    assert "this host does not have the address of 192.0.2.10:8080" in told
    assert "192.0.2.10:8080" in pilot.receipt()["warnings"][0]
    assert pilot.ask("/").status == 200
    pilot.sh("ip address add 192.0.2.10/32 dev lo")
    try:
        pilot.sh(ask)
        pilot.sh("ip address del 192.0.2.10/32 dev lo && docker restart moorage-edge")
        wait_until("the other port is served", lambda: pilot.ask("/").status == 200)
        assert "the address of 192.0.2.10:8080" in pilot.sh("moorage status pilot")
        assert "192.0.2.10:8080" in pilot.sh("moorage edge status")
        pilot.sh("ip address add 192.0.2.10/32 dev lo")
        pilot.sh(ask)
        assert "192.0.2.10" not in pilot.sh("moorage status pilot")
    finally:
        pilot.sh("ip address del 192.0.2.10/32 dev lo")
    # An edge that cannot start takes the configuration that mends it.
    pilot.sh("sysctl -w net.ipv4.ip_nonlocal_bind=0 && docker restart moorage-edge")
    state = "docker inspect -f '{{.State.Restarting}}' moorage-edge"
    wait_until("it crashes", lambda: pilot.sh(state) == "true", seconds=60)
    assert "visitors do not get through the edge" in pilot.sh("moorage status pilot")
    pilot.description.web["ports"] = ["8000:8000"]
    pilot.update().ok  # noqa: B018
    assert pilot.ask("/").status == 200
    pilot.sh("sysctl -w net.ipv4.ip_nonlocal_bind=1")


def test_a_program_on_the_port_of_the_free_slot_is_named_before_anything_is_touched(
    pilot: Pilot,
) -> None:
    pilot.site().ok  # noqa: B018
    release, runs = pilot.release("pilot"), pilot.runs("pilot")
    units = json.loads(pilot.sh("cat /opt/pilot/current/release.json"))["units"]
    free = "b" if pilot.slot("pilot-web") == "a" else "a"
    (unit,) = [entry for entry in units if entry["name"] == "pilot-web"]
    (port,) = unit["peers"][free].values()
    pilot.sh(f"systemd-run --unit squatter python3 -m http.server --bind 127.0.0.1 {port}")
    try:
        wait_until(
            "it listens", lambda: pilot.host.run(f"python3 -c '{REACHED}' 127.0.0.1 {port}").rc == 0
        )
        pilot.description.web["environment"] = {"MARK": "other"}
        said = pilot.update().output
        assert f"Port {port}/tcp, wanted by pilot (web, behind the edge), is taken" in said
        assert "squatter.service" in said
    finally:
        pilot.sh("systemctl stop squatter")
    assert (pilot.release("pilot"), pilot.runs("pilot")) == (release, runs)
