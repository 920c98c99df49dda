"""What the topology containers cannot honour is an error that names service and key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from moorage.release.places import reaches_engine

CASES = {
    "replicas on one host port": (
        "services: {a: {image: x, scale: 2, ports: ['80:80']}}",
        "services.a.scale",
    ),
    "replicas of a singleton": (
        "services: {a: {image: x, deploy: {replicas: 2}, x-moorage: {singleton: true}}}",
        "services.a.deploy.replicas",
    ),
    "replicas with one address": (
        "services: {a: {image: x, scale: 2, networks: {n: {ipv4_address: 10.0.0.2}}}}\n"
        "networks: {n: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}",
        "services.a.scale",
    ),
    "replicas with one hardware address": (
        "services: {a: {image: x, scale: 2, mac_address: '02:42:ac:11:00:02'}}",
        "services.a.scale",
    ),
    "a service called like a replica": (
        "services: {a: {image: x, scale: 2}, a-2: {image: x}}",
        "services.a-2.name",
    ),
    "attempts that the engine does not count": (
        "services: {a: {image: x, deploy: {restart_policy: {condition: any, max_attempts: 2}}}}",
        "services.a.deploy.restart_policy.max_attempts",
    ),
    "a job that is started again": (
        "services: {a: {image: x, restart: always}, b: {image: x,"
        " depends_on: {a: {condition: service_completed_successfully}}}}",
        "services.a.restart",
    ),
    "health that is not checked": (
        "services: {a: {image: x, healthcheck: {disable: true}}, b: {image: x,"
        " depends_on: {a: {condition: service_healthy}}}}",
        "services.b.depends_on.a",
    ),
    "one host port twice": (
        "services: {a: {image: x, ports: ['80:81']}, b: {image: x, ports: ['80:82']}}",
        "services.b.ports",
    ),
    "a port that the running one holds": (
        "services: {a: {image: x, ports: ['80:80']},"
        " b: {image: x, profiles: [p], ports: ['80:80']}}",
        "services.b.ports",
    ),
    "global mode": ("services: {a: {image: x, deploy: {mode: global}}}", "services.a.deploy.mode"),
    "something at the control socket's place": (
        "services: {a: {image: x, user: '1:1', environment: {MOORAGE_CONTROL_SOCKET: s},"
        " volumes: ['data:/run/moorage-control']}}\nvolumes: {data: }",
        "services.a.volumes",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str, refused: Callable[..., dict[str, Any]]) -> None:
    text, where = CASES[case]
    assert list(refused(text, topology="containers")) == [where]


ENGINE = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/var/run/../run/docker.sock",
    "//run//docker.sock",
    "/srv/elsewhere/docker.sock",
    "/proc/1/root/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/containerd",
    "/run",
    "/run/",
    "/var/run",
    "/var",
    "/",
]


@pytest.mark.parametrize("source", ENGINE)
@pytest.mark.parametrize("form", ["['{}:/s:ro']", "[{{type: bind, source: '{}', target: /s}}]"])
@pytest.mark.parametrize("place", ["process", "container", "containers"])
def test_the_engines_socket_is_never_mounted(
    source: str, form: str, place: str, refused: Callable[..., dict[str, Any]]
) -> None:
    kind = "image: x" if place == "container" else "build: ., command: [c]"
    text = (
        "x-moorage: {unified: {build: .}}\n"
        f"services: {{a: {{{kind}, volumes: {form.format(source)}}}}}"
    )
    found = refused(text, topology="containers" if place == "containers" else "unified")
    assert list(found) == ["services.a.volumes[0]"]
    problem = found["services.a.volumes[0]"]
    assert "root on the host" in problem.message
    assert "MOORAGE_CONTROL_SOCKET" in problem.advice


@pytest.mark.parametrize(
    "source",
    [
        *("/var/../run", "//run", "/./run/.", "/run/containerd/../"),
        *("/proc/1/root", "/proc/self/root/run", "/proc/1/task/1/cwd/run", "/proc/7/fd/3"),
    ],
)
def test_detours_are_followed(source: str) -> None:
    assert reaches_engine(source)


@pytest.mark.parametrize(
    "source",
    [
        "/run/mysqld",
        "/var/lib/app",
        "/srv/docker.sock.d",
        "/runner",
        "/var/runner",
        "/proc",
        "/proc/1",
    ],
)
def test_other_paths_are_not_mistaken_for_it(source: str) -> None:
    assert not reaches_engine(source)


def test_all_in_one_report(refused: Callable[..., dict[str, Any]]) -> None:
    found = refused(
        "services: {a: {image: x, scale: 2, ports: ['80:80'], volumes: ['/run:/r', '../d:/d']}}",
        topology="containers",
    )
    assert set(found) == {"services.a.scale", "services.a.volumes[0]", "services.a.volumes[1]"}
