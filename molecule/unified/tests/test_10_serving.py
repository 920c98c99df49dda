"""What a visitor, an operator and a stranger reach after the deploy."""

from __future__ import annotations

from described import OWN
from shared_serving import *  # noqa: F403 - these are tests of this scenario, too
from shared_serving import assert_owners, owners_of_files
from support import Machine, wait_until


def test_the_root_file_system_is_read_only(settled: Machine, containers: dict[str, int]) -> None:
    for container in containers:
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


def test_owners_and_modes(settled: Machine, stack: str) -> None:
    release, slot = settled.release(stack), settled.slot("tg2em-unified")
    directory, state = f"unified-{slot}", f"unified-state-{slot}"
    expected = owners_of_files(settled, stack) | {
        f"/opt/{stack}/releases/{release}/supervisor.json": (0, 0o644),
        f"/opt/{stack}/config/{directory}/supervisor.json": (0, 0o644),
        f"/opt/{stack}/logs": (10001, 0o755),
        f"/opt/{stack}/data/{state}": (10001, 0o750),
        f"/run/moorage/{stack}/{directory}/control.sock": (10001, 0o660),
    }
    assert_owners(settled, expected)


def test_the_health_of_the_container_is_that_of_its_processes(settled: Machine) -> None:
    wait_until(
        "the engine says healthy",
        lambda: (
            settled.sh("docker inspect -f '{{.State.Health.Status}}' tg2em-unified") == "healthy"
        ),
        seconds=60,
    )
