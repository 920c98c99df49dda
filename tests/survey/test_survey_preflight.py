"""From facts to problems: each thing that can be wrong with a host, and what is said about it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from ansible.module_utils.moorage_host import preflight
from ansible.module_utils.moorage_host.listeners import Listener, Process
from ansible.module_utils.moorage_host.units import Unit

WANTED: dict[str, Any] = {
    "releases": ["13"],
    "architectures": ["amd64", "arm64"],
    "memory_mb": 900,
    "clock_skew_seconds": 60.0,
    "engine": True,
}


def fit(**changes: Any) -> dict[str, Any]:
    """Return the facts of a host with which nothing is wrong, but for the changes."""
    facts = {
        "os_id": "debian",
        "os_version": "13",
        "os_name": "Debian GNU/Linux 13 (trixie)",
        "architecture": "amd64",
        "python": "3.13.5",
        "memory_mb": 2000,
        "systemd": True,
        "root": True,
        "clock_skew_seconds": 1.5,
    }
    return {**facts, **changes}


def test_a_fit_host_has_no_problem() -> None:
    assert preflight.check_system(fit(), WANTED) == []
    assert preflight.report(fit(), []).startswith("This host is fit")


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        ({"os_version": "12"}, "release", "neither Compose v2 nor buildx"),
        ({"os_version": "11"}, "release", "Python (3.9)"),
        ({"os_version": ""}, "release", "not supported"),
        ({"os_id": "ubuntu", "os_version": "13"}, "release", "not supported"),
        ({"architecture": "i386"}, "architecture", "not supported"),
        ({"memory_mb": 899}, "memory", "900 MiB"),
        ({"systemd": False}, "init", "systemd"),
        ({"root": False}, "privileges", "root"),
        ({"python": "3.10.12"}, "python", "too old"),
        ({"clock_skew_seconds": -61.0}, "clock", "60 s"),
        ({"clock_skew_seconds": 61.0}, "clock", "60 s"),
    ],
)
def test_what_makes_a_host_unfit(change: dict[str, Any], check: str, said: str) -> None:
    (found,) = preflight.check_system(fit(**change), WANTED)
    assert found["check"] == check
    assert said in found["problem"]
    assert found["value"] and found["fix"]


def test_a_host_without_an_engine_may_be_small() -> None:
    host = fit(memory_mb=200)
    assert preflight.check_system(host, WANTED)
    assert preflight.check_system(host, {**WANTED, "engine": False}) == []


UNIT = Unit(
    "", loaded=True, masked=False, active=True, enabled=True, refused=False, stale=False,
    started=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        (UNIT, "it runs"),
        (UNIT._replace(enabled=False), "it runs"),
        (UNIT._replace(active=False), "it starts at a boot"),
        (UNIT._replace(active=False, enabled=False), None),
        (UNIT._replace(active=False, loaded=False, masked=True), None),
        (UNIT._replace(active=False, loaded=False), None),
    ],
)
def test_a_server_of_the_host_s_own_is_kept_from_nothing(unit: Unit, value: str | None) -> None:
    found = preflight.check_masked({"postgresql.service": unit})
    assert [entry["value"] for entry in found] == ([value] if value else [])
    for entry in found:
        assert "postgresql.service" in entry["problem"]
        assert "native_kept_units: [postgresql.service]" in entry["fix"]


def test_ubuntu_12_is_not_refused_for_debians_reasons() -> None:
    (found,) = preflight.check_system(fit(os_id="ubuntu", os_version="12"), WANTED)
    assert "buildx" not in found["problem"]


def test_all_problems_are_in_one_report() -> None:
    host = fit(os_version="12", memory_mb=100, clock_skew_seconds=600.0)
    problems = preflight.check_system(host, WANTED)
    text = preflight.report(host, problems)
    assert [entry["check"] for entry in problems] == ["release", "memory", "clock"]
    assert "3 problems" in text
    assert all(entry["fix"].split()[0] in text for entry in problems)
    assert max(len(line) for line in text.splitlines()) <= 100


def test_paths_on_one_file_system_share_its_free_space() -> None:
    place = {"free_mb": 5000, "device": 1, "wanted_mb": 3000}
    opt, docker = {**place, "path": "/opt"}, {**place, "path": "/var/lib/docker"}
    assert preflight.check_disk([opt]) == []
    assert preflight.check_disk([opt, {**docker, "device": 2}]) == []
    (found,) = preflight.check_disk([opt, docker])
    assert "/opt and /var/lib/docker" in found["problem"]
    assert "6000 MiB" in found["problem"]


def test_account_numbers_that_are_taken() -> None:
    wanted = [{"name": "app", "uid": 10001}, {"name": "data", "uid": 10002}]
    assert preflight.check_users(wanted, {"app": 10001}, {10001: "app"}) == []
    renumbered, taken = preflight.check_users(wanted, {"app": 900}, {900: "app", 10002: "eve"})
    assert renumbered["value"] == "900"
    assert taken["value"] == "eve"


def test_sources_that_do_not_answer() -> None:
    good = {"uri": "http://a.example.com", "suite": "trixie", "error": None}
    bad = {"uri": "http://b.example.com", "suite": "trixie", "error": "timed out"}
    (found,) = preflight.check_sources([good, bad])
    assert found["value"] == "http://b.example.com trixie: timed out"


def test_an_engine_that_does_not_answer_is_a_problem() -> None:
    assert preflight.check_engine({"error": None}) == []
    assert preflight.check_engine({"error": "timed out"})[0]["value"] == "timed out"


WANT = {
    "port": 5000,
    "protocol": "tcp",
    "address": "0.0.0.0",
    "stack": "tg2em",
    "service": "frontend",
}
LISTENER = Listener("tcp", ip_address("0.0.0.0"), 5000, 42)


def container(stack: str, *, published: bool) -> dict[str, Any]:
    """Return a container as the engine's list summarises it."""
    ports = [{"address": "0.0.0.0", "port": 5000, "protocol": "tcp"}] if published else []
    return {"id": "0123456789ab", "name": "some", "stack": stack, "ports": ports}


def ports(
    *, listeners: list[Listener], containers: list[dict[str, Any]], holder: Process | None = None
) -> list[dict[str, str]]:
    """Run the check with one wanted port."""

    def holders(inodes: list[int]) -> dict[int, Process]:
        return {inodes[0]: holder} if holder else {}

    found: list[dict[str, str]] = preflight.check_ports([WANT], listeners, containers, holders)
    return found


def test_a_free_port() -> None:
    assert ports(listeners=[], containers=[]) == []
    other = LISTENER._replace(port=5001)
    udp = LISTENER._replace(protocol="udp")
    assert ports(listeners=[other, udp], containers=[]) == []


def test_the_stacks_own_containers_may_hold_its_port() -> None:
    own = container("tg2em", published=True)
    # With the userland proxy somebody listens, without it nobody does: both are fine.
    assert ports(listeners=[LISTENER], containers=[own]) == []
    assert ports(listeners=[], containers=[own]) == []
    in_host_network = Process(7, "gunicorn", "", "0123456789ab" + "0" * 52)
    idle = container("tg2em", published=False)
    assert ports(listeners=[LISTENER], containers=[idle], holder=in_host_network) == []


def test_the_stacks_own_units_may_hold_its_port() -> None:
    own = Process(7, "gunicorn", "moorage-tg2em-frontend.service", "")
    assert ports(listeners=[LISTENER], containers=[], holder=own) == []
    # Another one's name may begin with this one's.
    for name in ("moorage-tg2em2-frontend.service", "moorage-tg2em2.service"):
        (found,) = ports(listeners=[LISTENER], containers=[], holder=Process(7, "x", name, ""))
        assert name in found["value"]


def test_a_port_that_another_stack_publishes() -> None:
    (found,) = ports(listeners=[LISTENER], containers=[container("shop", published=True)])
    assert found["value"] == "container some of the stack shop"
    assert "group_vars/tg2em.yml" in found["fix"]


def test_a_port_that_a_process_holds() -> None:
    nginx = Process(812, "nginx", "nginx.service", "")
    (found,) = ports(listeners=[LISTENER, LISTENER], containers=[], holder=nginx)
    assert found["problem"] == "port 5000/tcp, wanted by tg2em (frontend), is taken"
    assert found["value"] == "nginx (pid 812, nginx.service)"
    assert "systemctl disable --now nginx.service" in found["fix"]


def test_a_port_whose_holder_cannot_be_seen() -> None:
    (found,) = ports(listeners=[LISTENER], containers=[])
    assert "cannot be seen" in found["value"]
