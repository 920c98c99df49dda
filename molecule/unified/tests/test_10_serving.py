"""What a visitor, an operator and a stranger reach after the deploy."""

from __future__ import annotations

import socket

import pytest
from described import DATA, LOCAL, ONE_OFF, OWN, PUBLIC
from support import Machine, wait_until

CONTAINERS = {"tg2em-unified": "10001", "tg2em-mysql": "10002"}


def test_the_host_is_in_order(settled: Machine) -> None:
    assert settled.sh("systemctl is-system-running") == "running"
    for name in ("docker", "logrotate.timer"):
        service = settled.host.service(name)
        assert service.is_enabled and service.is_running, name


def test_every_service_is_up_and_the_engine_agrees(settled: Machine, stack: str) -> None:
    services = settled.status(stack)
    assert set(services) == {*OWN, *ONE_OFF, *DATA}
    assert {services[name]["state"] for name in (*OWN, *DATA)} == {"RUNNING"}
    assert {services[name]["state"] for name in ONE_OFF} == {"EXITED"}
    assert {services[name]["health"] for name in (*OWN, *DATA)} == {"healthy"}
    assert set(settled.container_ids(stack)) == set(CONTAINERS)


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


def test_processes_run_as_their_users_without_any_capability(settled: Machine) -> None:
    for container, uid in CONTAINERS.items():
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


def test_the_root_file_system_is_read_only(settled: Machine) -> None:
    for container in CONTAINERS:
        # Where the user could write, were it not for that.
        tried = settled.host.run(f"docker exec --user 0 {container} touch /etc/x")
        assert tried.rc != 0 and "Read-only file system" in tried.stderr


def test_the_supervisor_runs_the_processes_that_the_host_sees(settled: Machine) -> None:
    """What is reported is the truth: the pids are those that the kernel knows."""
    services = settled.status("tg2em")
    programs = {"frontend": "gunicorn", "scraper": "tg2em_scraper", "tgstate": "tgstate"}
    assert set(programs) == set(OWN)
    for name, program in programs.items():
        pid = services[name]["pid"]
        command = settled.sh(f"docker exec tg2em-unified cat /proc/{pid}/cmdline")
        assert program in command, f"{name} is said to be {pid}: {command}"


def test_programs_in_the_container_find_pids_and_service_manager(settled: Machine) -> None:
    lines = settled.sh("docker exec tg2em-unified cat /app/data/pids.env").splitlines()
    noted = dict(line.split("=") for line in lines)
    services = settled.status("tg2em")
    for name in OWN:
        assert int(noted[f"{name.upper()}_PID"]) == services[name]["pid"]
    asked = (
        "from service_manager import service_manager as m; "
        "print(*[m.get_service_status(n) for n in m.load_pids()])"
    )
    shown = settled.sh(f'docker exec tg2em-unified python3 -c "{asked}"')
    assert shown.split() == ["running"] * len(OWN)


def test_owners_and_modes(settled: Machine) -> None:
    release = settled.release("tg2em")
    expected = {
        "/opt/tg2em": (0, 0o755),
        "/opt/tg2em/secrets": (0, 0o711),
        "/opt/tg2em/secrets/mysql_password": (0, 0o400),
        "/opt/tg2em/secrets/for/10001/mysql_password": (10001, 0o400),
        "/opt/tg2em/secrets/for/10002/mysql_password": (10002, 0o400),
        "/opt/tg2em/backups": (0, 0o700),
        "/opt/tg2em/logs": (10001, 0o755),
        "/opt/tg2em/config": (0, 0o755),
        "/opt/tg2em/releases": (0, 0o755),
        f"/opt/tg2em/releases/{release}": (0, 0o755),
        f"/opt/tg2em/releases/{release}/compose.yaml": (0, 0o644),
        f"/opt/tg2em/releases/{release}/supervisor.json": (0, 0o644),
        "/opt/tg2em/data/mysql-data": (10002, 0o750),
        "/opt/tg2em/data/tgstate-data": (10001, 0o750),
        "/opt/tg2em/data/scraper-data": (10001, 0o750),
        "/run/moorage/tg2em/unified/control.sock": (10001, 0o660),
    }
    seen = {path: (settled.host.file(path).uid, settled.host.file(path).mode) for path in expected}
    assert seen == expected
    # Each user finds what it needs, and nothing else.
    assert not settled.host.file("/opt/tg2em/secrets/for/10001/mysql_root_password").exists


def test_the_health_of_the_container_is_that_of_its_processes(settled: Machine) -> None:
    wait_until(
        "the engine says healthy",
        lambda: (
            settled.sh("docker inspect -f '{{.State.Health.Status}}' tg2em-unified") == "healthy"
        ),
        seconds=60,
    )
