"""What a visitor, an operator and a stranger reach after the deploy."""

from __future__ import annotations

import socket
import urllib.request

import pytest
from support import Machine, wait_until

FRONTEND, PICTURES, DATABASE = 5000, 8088, 3306


def test_every_service_is_up_and_the_engine_agrees(settled: Machine, stack: str) -> None:
    services = settled.status(stack)
    assert {"frontend", "tgstate", "scraper", "migrate", "mysql"} <= services.keys()
    assert set(settled.container_ids(stack)) == {"tg2em-unified", "tg2em-mysql"}


@pytest.mark.parametrize("port", [FRONTEND, PICTURES])
def test_it_answers_visitors(settled: Machine, port: int) -> None:
    url = f"http://{settled.address}:{port}/health"
    with urllib.request.urlopen(url, timeout=5) as answer:
        assert answer.status == 200


def test_the_database_answers_on_the_host_alone(settled: Machine, stack: str) -> None:
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
        socket.create_connection((settled.address, DATABASE), timeout=3)


def test_only_what_is_meant_listens_beyond_the_host(settled: Machine) -> None:
    lines = settled.sh("ss -Hltn").splitlines()
    beyond = {
        int(line.split()[3].rpartition(":")[2])
        for line in lines
        if not line.split()[3].startswith(("127.", "[::1]"))
    }
    assert beyond == {FRONTEND, PICTURES}


def test_processes_run_as_their_users_without_any_capability(settled: Machine) -> None:
    for container, uid in (("tg2em-unified", "10001"), ("tg2em-mysql", "10002")):
        pids = settled.sh(f"docker top {container} -eo pid").split()[1:]
        assert len(pids) >= 1
        for pid in pids:
            status = settled.host.run(f"cat /proc/{pid}/status")
            if status.rc != 0:
                continue  # a health check that has ended meanwhile
            fields = dict(line.split(":", 1) for line in status.stdout.splitlines() if ":" in line)
            assert set(fields["Uid"].split()) == {uid}
            assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
            assert fields["NoNewPrivs"].strip() == "1"


def test_the_root_file_system_is_read_only(settled: Machine) -> None:
    for container in ("tg2em-unified", "tg2em-mysql"):
        assert settled.host.run(f"docker exec {container} touch /etc/x").rc != 0
        assert (
            settled.sh(f"docker inspect -f '{{{{.HostConfig.ReadonlyRootfs}}}}' {container}")
            == "true"
        )


def test_the_seed_s_files_and_api_are_there(settled: Machine) -> None:
    lines = settled.sh("docker exec tg2em-unified cat /app/data/pids.env").splitlines()
    noted = dict(line.split("=") for line in lines)
    services = settled.status("tg2em")
    for name in ("frontend", "scraper", "tgstate"):
        assert int(noted[f"{name.upper()}_PID"]) == services[name]["pid"]
    asked = (
        "from service_manager import service_manager as m; m.load_pids(); "
        "print(m.get_service_status('frontend'), m.get_service_status('scraper'))"
    )
    shown = settled.sh(f'docker exec tg2em-unified python3 -c "{asked}"')
    assert shown.split() == ["running", "running"]


def test_owners_and_modes(settled: Machine) -> None:
    expected = {
        "/opt/tg2em": (0, 0o755),
        "/opt/tg2em/secrets": (0, 0o711),
        "/opt/tg2em/secrets/mysql_password": (0, 0o400),
        "/opt/tg2em/secrets/for/10001/mysql_password": (10001, 0o400),
        "/opt/tg2em/secrets/for/10002/mysql_password": (10002, 0o400),
        "/opt/tg2em/backups": (0, 0o700),
        "/opt/tg2em/logs": (10001, 0o755),
        "/opt/tg2em/data/mysql-data": (10002, None),
    }
    for path, (uid, mode) in expected.items():
        file = settled.host.file(path)
        assert file.uid == uid, path
        assert mode is None or file.mode == mode, f"{path}: {file.mode:o}"
    assert not settled.host.file("/opt/tg2em/secrets/for/10001/mysql_root_password").exists
    assert settled.host.service("docker").is_enabled
    release = settled.release("tg2em")
    assert settled.host.file(f"/opt/tg2em/releases/{release}/compose.yaml").exists


def test_the_health_of_the_container_is_that_of_its_processes(settled: Machine) -> None:
    wait_until(
        "the engine says healthy",
        lambda: (
            settled.sh("docker inspect -f '{{.State.Health.Status}}' tg2em-unified") == "healthy"
        ),
        seconds=60,
    )
