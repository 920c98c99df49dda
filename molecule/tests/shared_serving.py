"""What a visitor, an operator and a stranger reach after a deploy, whatever the topology."""

from __future__ import annotations

import socket

import pytest
from described import DATA, LOCAL, ONE_OFF, OWN, PUBLIC
from support import Machine


def test_the_host_is_in_order(settled: Machine) -> None:
    assert settled.sh("systemctl is-system-running") == "running"
    for name in ("docker", "logrotate.timer"):
        service = settled.host.service(name)
        assert service.is_enabled and service.is_running, name


def test_every_service_is_up_and_the_engine_agrees(
    settled: Machine, stack: str, containers: dict[str, str], on_demand: list[str]
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
    assert {5000, 8088} == PUBLIC
    assert settled.serves(*PUBLIC)


def test_the_database_answers_on_the_host_alone(settled: Machine, stack: str) -> None:
    assert {3306} == LOCAL
    image = settled.sh("docker inspect -f '{{.Config.Image}}' tg2em-mysql")
    secret = f"/opt/{stack}/secrets/for/10001/mysql_password"
    # A client of its own on the host's network: what somebody with a shell on the host does. The
    # password goes in by a file, as every secret does.
    shown = settled.sh(
        f"docker run --rm --network host --user 10001:10001 --entrypoint sh "
        f"-v {secret}:/run/secrets/mysql_password:ro --tmpfs /tmp {image} -c '"
        'printf "[client]\\npassword=%s\\n" "$(cat /run/secrets/mysql_password)" >/tmp/my.cnf; '
        "mariadb --defaults-extra-file=/tmp/my.cnf -h 127.0.0.1 -P 3306 -u tg2em tg2em "
        '-N -e "SELECT COUNT(*) >= 0, @@character_set_database FROM articles"\''
    )
    assert shown.split() == ["1", "utf8mb4"]
    with pytest.raises(OSError):
        socket.create_connection((settled.address, 3306), timeout=3)


def test_only_what_is_meant_listens_beyond_the_host(settled: Machine) -> None:
    places = [line.split()[3] for line in settled.sh("ss -Hltn").splitlines()]
    ports = {
        int(place.rpartition(":")[2]) for place in places if not place.startswith(("127.", "[::1]"))
    }
    assert ports == PUBLIC


def test_processes_run_as_their_users_without_any_capability(
    settled: Machine, containers: dict[str, str]
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
            "Uid": {uid},
            "Gid": {uid},
            "CapEff": nothing,
            "CapBnd": nothing,
            "NoNewPrivs": {"1"},
        }, container


def owners_of_files(stack: str, release: str) -> dict[str, tuple[int, int]]:
    """Return owner and mode of what a stack has on a host in every topology with containers."""
    base = f"/opt/{stack}"
    return {
        base: (0, 0o755),
        f"{base}/secrets": (0, 0o711),
        f"{base}/secrets/mysql_password": (0, 0o400),
        f"{base}/secrets/for/10001/mysql_password": (10001, 0o400),
        f"{base}/secrets/for/10002/mysql_password": (10002, 0o400),
        f"{base}/backups": (0, 0o700),
        f"{base}/config": (0, 0o755),
        f"{base}/releases": (0, 0o755),
        f"{base}/releases/{release}": (0, 0o755),
        f"{base}/releases/{release}/compose.yaml": (0, 0o644),
        f"{base}/data/mysql-data": (10002, 0o750),
        f"{base}/data/tgstate-data": (10001, 0o750),
        f"{base}/data/scraper-data": (10001, 0o750),
    }


def assert_owners(machine: Machine, expected: dict[str, tuple[int, int]]) -> None:
    """Assert that paths have these owners and modes."""
    shown = machine.sh(f"stat -c '%n %u %a' {' '.join(expected)}").splitlines()
    seen = {path: (int(uid), int(mode, 8)) for path, uid, mode in (line.split() for line in shown)}
    assert seen == expected


def test_each_user_finds_the_secrets_that_it_needs_and_no_other(
    settled: Machine, stack: str
) -> None:
    assert not settled.host.file(f"/opt/{stack}/secrets/for/10001/mysql_root_password").exists
