"""What a visitor, an operator and a stranger reach after a deploy, whatever the topology."""

from __future__ import annotations

import socket

import pytest
from application import APPLICATION
from described import DATA, LOCAL, ONE_OFF, OWN, PUBLIC, STACK, owners, readers
from support import Machine


def test_the_host_is_in_order(settled: Machine) -> None:
    assert settled.sh("systemctl is-system-running") == "running"
    for name in ("docker", "logrotate.timer"):
        service = settled.host.service(name)
        assert service.is_enabled and service.is_running, name


def test_every_service_is_up_and_the_engine_agrees(
    settled: Machine, stack: str, containers: dict[str, int], on_demand: list[str]
) -> None:
    services = settled.status(stack)
    assert set(services) == {*OWN, *ONE_OFF, *DATA, *on_demand}
    assert {services[name]["state"] for name in (*OWN, *DATA)} == {"RUNNING"}
    assert {services[name]["state"] for name in ONE_OFF} == {"EXITED"}
    assert {services[name]["health"] for name in (*OWN, *DATA)} == {"healthy"}
    running = settled.sh(
        f"docker ps --filter label=moorage.stack={stack} --format '{{{{.Names}}}}'"
    )
    assert set(running.split()) == set(containers)


def test_it_answers_visitors(settled: Machine) -> None:
    assert settled.serves(*PUBLIC)


def test_data_services_answer_on_the_host_alone(settled: Machine) -> None:
    APPLICATION.ask_data_services(settled)
    for port in LOCAL:
        with pytest.raises(OSError):
            socket.create_connection((settled.address, port), timeout=3)


def test_only_what_is_meant_listens_beyond_the_host(settled: Machine) -> None:
    places = [line.split()[3] for line in settled.sh("ss -Hltn").splitlines()]
    ports = {
        int(place.rpartition(":")[2]) for place in places if not place.startswith(("127.", "[::1]"))
    }
    assert ports == PUBLIC


def test_processes_run_as_their_users_without_any_capability(
    settled: Machine, containers: dict[str, int]
) -> None:
    for container, uid in containers.items():
        shown = settled.sh(
            f"for p in $(docker top {container} -eo pid | tail -n +2); do "
            "grep -sE '^(Uid|Gid|CapEff|CapBnd|NoNewPrivs):' /proc/$p/status; done"
        )
        seen: dict[str, set[str]] = {}
        for line in shown.splitlines():
            name, _, values = line.partition(":")
            seen.setdefault(name, set()).update(values.split())
        nothing = {"0" * 16}
        assert seen == {
            "Uid": {str(uid)},
            "Gid": {str(uid)},
            "CapEff": nothing,
            "CapBnd": nothing,
            "NoNewPrivs": {"1"},
        }, container


def owners_of_files(machine: Machine, stack: str) -> dict[str, tuple[int, int]]:
    """Return owner and mode of what a stack has on a host in every topology with containers."""
    base, user = f"/opt/{stack}", machine.user(stack)
    release = f"{base}/releases/{machine.release(stack)}"
    return {
        base: (0, 0o755),
        f"{base}/secrets": (0, 0o711),
        **{f"{base}/secrets/{name}": (0, 0o400) for name in STACK.secrets},
        **{f"{base}/secrets/for/{uid}/{name}": (uid, 0o400) for uid, name in readers(user)},
        f"{base}/backups": (0, 0o700),
        f"{base}/config": (0, 0o755),
        f"{base}/releases": (0, 0o755),
        release: (0, 0o755),
        f"{release}/compose.yaml": (0, 0o600),
        **{f"{base}/data/{name}": (uid, 0o750) for name, uid in owners(user).items()},
    }


def assert_owners(machine: Machine, expected: dict[str, tuple[int, int]]) -> None:
    """Assert that paths have these owners and modes."""
    shown = machine.sh(f"stat -c '%n %u %a' {' '.join(expected)}").splitlines()
    seen = {path: (int(uid), int(mode, 8)) for path, uid, mode in (line.split() for line in shown)}
    assert seen == expected


def test_each_user_finds_the_secrets_that_it_needs_and_no_other(
    settled: Machine, stack: str
) -> None:
    shown = settled.sh(f"cd /opt/{stack}/secrets/for && find . -type f -printf '%P\\n'")
    found = {(int(uid), name) for uid, _, name in (f.partition("/") for f in shown.splitlines())}
    assert found == readers(settled.user(stack))
    assert len({uid for uid, _ in found}) > 1
