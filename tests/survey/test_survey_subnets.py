"""Subnets that stacks ask for, beside what the host reaches and what its engine has."""

from __future__ import annotations

import json
import subprocess
import threading
import uuid
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import pytest
from ansible.module_utils.moorage_host import engine, preflight, routes

ID = "0123456789ab"
ROUTES = [
    (ip_network("192.0.2.0/24"), "eth0"),
    (ip_network("172.20.0.0/16"), f"br-{ID}"),
    (ip_network("172.20.0.1/32"), f"br-{ID}"),
    (ip_network("10.8.0.0/16"), "wg0"),
    (ip_network("10.9.9.9/32"), "lo"),
    (ip_network("fd00:1::/64"), "eth0"),
]


def network(name: str, *subnets: str, project: str = "", device: str = "") -> dict[str, Any]:
    made = {"name": name, "project": project, "subnets": list(subnets)}
    return {**made, "device": device or "br-abcdef012345"}


OWN = network("shop_n", "172.20.0.0/16", project="shop", device=f"br-{ID}")


def check(
    subnet: str, *networks: dict[str, Any], known: tuple[str, str] = ("", "")
) -> list[dict[str, str]]:
    claim = {"kind": "subnet", "name": subnet, "service": "its network n", "address": "shop_n"}
    wanted = [{"name": "shop", "claims": [claim, {"kind": "file", "name": "x", "address": ""}]}]

    def know(stack: str, kind: str, name: str) -> bool:
        return kind == "subnet" and (stack, name) == known

    found: list[dict[str, str]] = preflight.check_subnets(wanted, list(networks), ROUTES, know)
    return found


@pytest.mark.parametrize("subnet", ["172.21.0.0/16", "10.9.8.0/24", "fd00:2::/64"])
def test_a_subnet_of_nobody_s(subnet: str) -> None:
    assert check(subnet) == []


@pytest.mark.parametrize(
    ("subnet", "value"),
    [
        ("192.0.2.128/25", "the route 192.0.2.0/24 (device eth0)"),
        ("10.8.3.0/24", "the route 10.8.0.0/16 (device wg0)"),
        ("10.9.0.0/16", "the address 10.9.9.9/32 (device lo)"),
        ("fd00::/16", "the route fd00:1::/64 (device eth0)"),
    ],
)
def test_what_the_host_reaches_elsewhere(subnet: str, value: str) -> None:
    (found,) = check(subnet)
    assert found["problem"] == (
        f"the subnet {subnet}, wanted by shop (its network n), overlaps what this host reaches "
        "elsewhere"
    )
    assert found["value"] == value and "`ipam`" in found["fix"]


def test_the_stack_s_own_network_is_in_nobody_s_way() -> None:
    assert check("172.20.0.0/16", OWN) == []
    # An engine that is stopped leaves its devices.
    assert check("172.20.0.0/16") == []


def test_a_network_that_is_there_with_another_subnet_cannot_be_changed() -> None:
    (found,) = check("172.21.0.0/16", OWN)
    assert found["problem"].startswith("the network shop_n, wanted by shop with the subnet 172.21")
    assert found["value"] == "172.20.0.0/16" and "remove.yml -e stack=shop" in found["fix"]


def test_networks_of_others() -> None:
    theirs = network("lab", "172.21.0.0/16")
    (found,) = check("172.21.4.0/24", theirs)
    assert found["value"] == "172.21.0.0/16, the network lab"
    assert "docker network rm" in found["fix"]
    (found,) = check("172.17.4.0/24", network("bridge", "172.17.0.0/16"))
    assert "docker network rm" not in found["fix"]
    stacks = network("blog_n", "172.21.0.0/16", project="blog")
    assert check("172.21.4.0/24", stacks, known=("blog", "172.21.0.0/16")) == []
    # Its own of before is no neighbour whose turn could come first.
    before = network("shop_old", "172.21.0.0/16", project="shop")
    (found,) = check("172.21.4.0/24", before, known=("shop", "172.21.0.0/16"))
    assert found["value"] == "172.21.0.0/16, the network shop_old"


def test_the_kernel_tells_routes_and_addresses() -> None:
    found = routes.read_routes()
    assert (ip_network("127.0.0.1/32"), "lo") in found
    assert not [route for route, _ in found if route.prefixlen == 0]


def test_a_network_of_the_engine_is_found_with_its_device() -> None:
    name = f"pytest-survey-{uuid.uuid4().hex[:8]}"
    command = ["docker", "network", "create", "--subnet", "10.213.7.0/28"]
    subprocess.run([*command, "--label", "com.docker.compose.project=shop", name], check=True)
    try:
        (made,) = [entry for entry in engine.networks() if entry["name"] == name]
        assert (made["project"], made["subnets"]) == ("shop", ["10.213.7.0/28"])
        assert (ip_network("10.213.7.0/28"), made["device"]) in routes.read_routes()
    finally:
        subprocess.run(["docker", "network", "rm", name], check=True)


def test_networks_without_subnets_and_with_names_of_their_own(tmp_path: Path) -> None:
    entries = [
        {"Name": "none", "Id": "1" * 64, "IPAM": {"Config": None}, "Labels": None, "Options": {}},
        {
            "Name": "bridge",
            "Id": "2" * 64,
            "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]},
            "Options": {"com.docker.network.bridge.name": "docker0"},
        },
    ]

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(entries).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is said of it."""

    path = tmp_path / "socket"
    with UnixStreamServer(str(path), Answer) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        found = engine.networks(path)
    assert found == [
        network("none", device="br-" + "1" * 12),
        network("bridge", "172.17.0.0/16", device="docker0"),
    ]
