"""Restarts of everything that can restart: all is back without help, and no data is lost."""

from __future__ import annotations

import urllib.request

import pytest
from support import Machine, wait_until


def rows(machine: Machine) -> str:
    """Return a checksum over the tables that hold what people entered."""
    return machine.sh(
        "docker exec tg2em-mysql sh -c '"
        'mariadb -N -u root -p"$(cat /run/secrets/mysql_root_password)" tg2em '
        '-e "CHECKSUM TABLE articles, messages, channels, admin_users"\' 2>/dev/null'
    )


def serves(machine: Machine) -> bool:
    """Tell whether front end and image service both answer visitors."""
    for port in (5000, 8088):
        url = f"http://{machine.address}:{port}/health"
        with urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status != 200:
                return False
    return True


def test_the_container_restarts(settled: Machine) -> None:
    before = rows(settled)
    settled.sh("docker restart tg2em-unified")
    wait_until("it serves", lambda: serves(settled), seconds=60)
    assert rows(settled) == before


def test_the_engine_restarts_and_containers_run_on(settled: Machine, stack: str) -> None:
    before = {name: s["pid"] for name, s in settled.status(stack).items()}
    settled.sh("systemctl restart docker")
    wait_until("it serves", lambda: serves(settled), seconds=60)
    assert {name: s["pid"] for name, s in settled.status(stack).items()} == before


@pytest.mark.parametrize("time", ["first", "second"])
def test_the_host_restarts(settled: Machine, stack: str, time: str) -> None:
    before = rows(settled)
    release = settled.release(stack)
    settled.restart()
    wait_until("it serves", lambda: serves(settled), seconds=120, every=0.5)
    assert rows(settled) == before
    assert settled.release(stack) == release
