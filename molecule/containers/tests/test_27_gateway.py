"""The gateway as somebody sees it who has taken over the front end: it is no way to the engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Machine

INTRUDER = Path(__file__).parents[2] / "tests/intruder.py"
SOCKET = "/run/moorage-control/control.sock"


@pytest.fixture
def strangers(settled: Machine, stack: str) -> Iterator[list[str]]:
    """Ids and names of containers that are not of the stack, or only say so, or are no service."""
    container = settled.container_of(stack, "frontend")
    image = settled.sh(f"docker inspect -f '{{{{.Config.Image}}}}' {container}")
    made = {
        "other-web": ("other", "web"),
        f"{stack}2-frontend": (f"{stack}2", "frontend"),
        f"{stack}-spoofed": (stack, "spoofed"),
    }
    try:
        for name, (owner, service) in made.items():
            settled.sh(
                f"docker run -d --name {name} --label moorage.stack={owner} "
                f"--label moorage.service={service} --label com.docker.compose.project={owner} "
                f"--label com.docker.compose.service={service} --entrypoint sleep {image} 600"
            )
        ids = settled.sh(f"docker inspect -f '{{{{.Id}}}}' {' '.join(made)}").split()
        own = settled.container_ids(stack)[f"{stack}-mysql"]
        yield [*made, *ids, *(i[:12] for i in ids), f"{stack}-mysql", own, own[:12]]
    finally:
        settled.sh(f"docker rm -f {' '.join(made)}")


def test_nothing_but_what_is_offered_gets_through(
    settled: Machine, stack: str, strangers: list[str]
) -> None:
    facts = "docker ps -aq --no-trunc | xargs docker inspect -f '{{.Id}} {{.Name}} {{.State.Pid}}'"
    before = settled.sh(facts)
    container = settled.container_of(stack, "frontend")
    seen = json.loads(settled.python(INTRUDER, SOCKET, *strangers, container=container))
    assert seen["tried"] > 100
    assert seen["through"] == []
    assert settled.sh(facts) == before, "nothing was made, stopped or started"
    audit = settled.sh(f"cat /var/log/moorage/gateway/{stack}/audit.jsonl").splitlines()
    assert any(json.loads(line)["result"] == "denied" for line in audit)


def test_there_is_no_other_socket_in_the_front_end(settled: Machine, stack: str) -> None:
    container = settled.container_of(stack, "frontend")
    seen = json.loads(settled.python(INTRUDER, SOCKET, "nothing", container=container))
    assert seen["sockets"] == [SOCKET]
    assert seen["mounts"] == []
    assert seen["written"] == []


def test_no_container_has_the_engines_socket(settled: Machine) -> None:
    sources = settled.sh(
        "docker ps -aq | xargs docker inspect -f '{{range .Mounts}}{{.Source}} {{end}}'"
    ).split()
    assert [path for path in sources if path.endswith(("docker.sock", "containerd.sock"))] == []
    roots = {"/", "/run", "/var/run", "/var", "/run/moorage", "/etc"}
    assert roots.isdisjoint(sources)


def test_the_gateway_has_its_group_and_nothing_else(settled: Machine, stack: str) -> None:
    unit = f"moorage-gateway-{stack}.service"
    pid = settled.sh(f"systemctl show --property MainPID --value {unit}")
    lines = settled.sh(f"cat /proc/{pid}/status").splitlines()
    facts = {line.partition(":")[0]: line.partition(":")[2].split() for line in lines}
    group = settled.sh("getent group docker").split(":")[2]
    assert facts["Uid"] == ["10003"] * 4
    assert set(facts["Groups"]) <= {group, "10003"} and group in facts["Groups"]
    assert {*facts["CapEff"], *facts["CapPrm"], *facts["CapBnd"]} == {"0" * 16}
    assert facts["NoNewPrivs"] == ["1"] and facts["Seccomp"] == ["2"]
    interfaces = settled.sh(f"cat /proc/{pid}/net/dev").splitlines()[2:]
    assert [line.partition(":")[0].strip() for line in interfaces] == ["lo"]
