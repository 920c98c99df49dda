"""What a visitor, an operator and a stranger reach after the deploy, and what the file asks for."""

from __future__ import annotations

import json

import pytest
from shared_serving import *  # noqa: F403 - these are tests of this scenario, too
from shared_serving import assert_owners, owners_of_files
from support import Machine
from taifish_site import client, queries, visitor


def test_owners_and_modes(settled: Machine, stack: str) -> None:
    assert_owners(settled, owners_of_files(settled, stack))


def test_fixed_addresses_are_those_of_the_file(settled: Machine) -> None:
    shown = settled.sh("docker network inspect taifish_taifish_network")
    (network,) = json.loads(shown)
    assert [pool["Subnet"] for pool in network["IPAM"]["Config"]] == ["172.20.0.0/16"]
    held = {c["Name"]: c["IPv4Address"] for c in network["Containers"].values()}
    assert held["taifish-postgres"] == "172.20.0.30/16"
    assert held["taifish-redis"] == "172.20.0.40/16"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("shared_buffers", "256MB"),
        ("work_mem", "4MB"),
        ("maintenance_work_mem", "64MB"),
        ("effective_cache_size", "1GB"),
        ("max_connections", "200"),
    ],
)
def test_postgresql_runs_with_the_settings_of_the_stack(
    settled: Machine, setting: str, value: str
) -> None:
    assert queries(settled, f"SHOW {setting}") == value


def test_redis_evicts_nothing_that_has_no_time_to_live(settled: Machine) -> None:
    ask = "redis-cli -h 127.0.0.1 CONFIG GET"
    both = f'export REDISCLI_AUTH=$(cat /run/secret); {ask} "maxmemory*"; {ask} appendonly'
    shown = client(settled, "redis", both).split()
    found = dict(zip(shown[::2], shown[1::2], strict=True))
    assert found["maxmemory"] == str(256 * 2**20)
    assert (found["maxmemory-policy"], found["appendonly"]) == ("volatile-lru", "yes")


def test_containers_are_closed_bounded_and_labelled(
    settled: Machine, containers: dict[str, int]
) -> None:
    for container in json.loads(settled.sh(f"docker inspect {' '.join(containers)}")):
        limits, name = container["HostConfig"], container["Name"]
        assert limits["ReadonlyRootfs"] and limits["CapDrop"] == ["ALL"], name
        assert limits["Memory"] > 0 and limits["NanoCpus"] > 0, name
        assert limits["MemoryReservation"] > 0, name
        assert limits["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}, name
        assert limits["RestartPolicy"]["Name"] == "unless-stopped", name
        if name == "/taifish-postgres":
            assert limits["ShmSize"] == 256 * 2**20
        if name == "/taifish-app":
            labels = container["Config"]["Labels"]
            scraped = {"scrape": "true", "port": "5000", "path": "/metrics"}
            assert {k: labels[f"prometheus.io/{k}"] for k in scraped} == scraped


def test_metrics_are_for_the_host_alone(settled: Machine) -> None:
    assert visitor(settled).get("/metrics").status == 404
    assert "taifish_" in settled.sh("curl -fsS http://127.0.0.1:8000/metrics")
