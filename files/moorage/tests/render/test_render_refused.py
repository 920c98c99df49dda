"""What the unified topology cannot honour is an error that names service and key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

TOP = "x-moorage: {unified: {build: .}}\n"

CASES = {
    "no command": ("services: {a: {build: .}}", "services.a.command"),
    "two processes on one port": (
        "services: {a: {build: ., command: [a], ports: ['80:80']},"
        " b: {build: ., command: [b], expose: [80]}}",
        "services.b.ports",
    ),
    "one host port twice": (
        "services: {a: {build: ., command: [a], ports: ['80:81']},"
        " b: {image: x, ports: ['80:82']}}",
        "services.b.ports",
    ),
    "a range of host ports": (
        "services: {a: {image: x, ports: ['8000-8010:80']}}",
        "services.a.ports",
    ),
    "another user": (
        "services: {a: {build: ., command: [a], user: '5:5'}}",
        "services.a.user",
    ),
    "a user's name": (
        "services: {a: {build: ., command: [a], user: app}}",
        "services.a.user",
    ),
    "differing read_only": (
        "services: {a: {build: ., command: [a], read_only: true}, b: {build: ., command: [b]}}",
        "services.b.read_only",
    ),
    "differing ulimits": (
        "services: {a: {build: ., command: [a], ulimits: {nofile: 1}},"
        " b: {build: ., command: [b], ulimits: {nofile: 2}}}",
        "services.b.ulimits",
    ),
    "different networks": (
        "services: {a: {build: ., command: [a], networks: [n]}, b: {build: ., command: [b]}}\n"
        "networks: {n: }",
        "services.b.networks",
    ),
    "two static addresses": (
        "services: {a: {build: ., command: [a], networks: {n: {ipv4_address: 10.0.0.2}}},"
        " b: {build: ., command: [b], networks: {n: {ipv4_address: 10.0.0.3}}}}\n"
        "networks: {n: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}",
        "services.b.networks.n.ipv4_address",
    ),
    "two volumes at one target": (
        "services: {a: {build: ., command: [a], volumes: ['v1:/d']},"
        " b: {build: ., command: [b], volumes: ['v2:/d']}}\nvolumes: {v1: , v2: }",
        "services.b.volumes",
    ),
    "a volume over the supervisor's data": (
        "services: {a: {build: ., command: [a], volumes: ['v1:/app/data']}}\nvolumes: {v1: }",
        "services.a.volumes",
    ),
    "differing tmpfs": (
        "services: {a: {build: ., command: [a], tmpfs: ['/t:size=1m']},"
        " b: {build: ., command: [b], tmpfs: ['/t:size=2m']}}",
        "services.b.tmpfs",
    ),
    "replicas with a port": (
        "services: {a: {build: ., command: [a], ports: ['80:80'], deploy: {replicas: 2}}}",
        "services.a.deploy.replicas",
    ),
    "replicas of a singleton": (
        "services: {a: {build: ., command: [a], scale: 2, x-moorage: {singleton: true}}}",
        "services.a.scale",
    ),
    "replicas of a data service": (
        "services: {a: {image: x, deploy: {replicas: 2}}}",
        "services.a.deploy.replicas",
    ),
    "waiting for health without a check": (
        "services: {a: {build: ., command: [a], depends_on: {b: {condition: service_healthy}}},"
        " b: {build: ., command: [b]}}",
        "services.a.depends_on.b",
    ),
    "a container waiting for a process": (
        "services: {a: {image: x, depends_on: [b]}, b: {build: ., command: [b]}}",
        "services.a.depends_on.b",
    ),
    "a volume of two users": (
        "services: {a: {image: x, user: '1:1', volumes: ['data:/d']},"
        " b: {image: x, user: '2:2', volumes: ['data:/d']}}\nvolumes: {data: }",
        "volumes.data",
    ),
    "a volume of a driver": (
        "services: {a: {image: x, user: '1:1', volumes: ['data:/d']}}\n"
        "volumes: {data: {driver: nfs}}",
        "volumes.data",
    ),
    "a config from outside": (
        "services: {a: {image: x, configs: [c]}}\nconfigs: {c: {external: true}}",
        "configs.c",
    ),
    "a service called unified": (
        "services: {unified: {image: x}, a: {build: ., command: [a]}}",
        "services.unified.name",
    ),
    "a host that is a process": (
        "services: {a: {build: ., command: [a], extra_hosts: ['a:192.0.2.1']}}",
        "services.a.extra_hosts",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str, refused: Callable[..., dict[str, Any]]) -> None:
    text, where = CASES[case]
    assert list(refused(TOP + text)) == [where]


def test_nothing_says_how_to_build(refused: Callable[..., dict[str, Any]]) -> None:
    found = refused("services: {a: {build: ., command: [a]}}")
    assert list(found) == ["x-moorage.unified.build"]


def test_settings_for_services_that_are_not_there(refused: Callable[..., dict[str, Any]]) -> None:
    found = refused(
        "services: {web: {image: x}}",
        publish={"wbe": []},
        environment={"unified": {"A": "1"}},
        limits={"unified": {"memory": "1g"}},
    )
    assert set(found) == {"settings.publish.wbe", "settings.environment.unified"}
    assert found["settings.publish.wbe"].advice == "did you mean 'web'?"


def test_publish_that_is_no_port(refused: Callable[..., dict[str, Any]]) -> None:
    found = refused("services: {web: {image: x}}", publish={"web": ["anywhere:80:80"]})
    assert "not an IP address" in found["settings.publish.web"].message


def test_all_in_one_report(refused: Callable[..., dict[str, Any]]) -> None:
    found = refused(
        TOP + "services: {a: {build: ., privileged: true, cap_add: [NET_ADMIN]},"
        " b: {image: x, volumes: ['../d:/d']}}"
    )
    assert set(found) == {
        "services.a.command",
        "services.a.privileged",
        "services.a.cap_add",
        "services.b.volumes[0]",
    }
