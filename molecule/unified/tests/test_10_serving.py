"""What a visitor, an operator and a stranger reach after the deploy."""

from __future__ import annotations

from described import OWN
from shared_serving import (
    assert_owners,
    owners_of_files,
    test_each_user_finds_the_secrets_that_it_needs_and_no_other,
    test_every_service_is_up_and_the_engine_agrees,
    test_it_answers_visitors,
    test_only_what_is_meant_listens_beyond_the_host,
    test_processes_run_as_their_users_without_any_capability,
    test_the_database_answers_on_the_host_alone,
    test_the_host_is_in_order,
)
from support import Machine, wait_until

__all__ = [
    "test_each_user_finds_the_secrets_that_it_needs_and_no_other",
    "test_every_service_is_up_and_the_engine_agrees",
    "test_it_answers_visitors",
    "test_only_what_is_meant_listens_beyond_the_host",
    "test_processes_run_as_their_users_without_any_capability",
    "test_the_database_answers_on_the_host_alone",
    "test_the_host_is_in_order",
]


def test_the_root_file_system_is_read_only(settled: Machine, containers: dict[str, str]) -> None:
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
    release = settled.release(stack)
    expected = owners_of_files(stack, release) | {
        f"/opt/{stack}/releases/{release}/supervisor.json": (0, 0o644),
        f"/run/moorage/{stack}/unified/control.sock": (10001, 0o660),
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
