"""The Compose file: what Moorage reads of it, and what Compose does."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from taifish import broker
from taifish_rig import STACK

from moorage.compose import load_stack
from moorage.render import render_stack
from moorage.settings.stack import Settings


@pytest.mark.parametrize("topology", ["containers", "unified"])
def test_it_is_rendered(topology: str) -> None:
    stack = load_stack(STACK, on_demand=True)
    found = render_stack(stack, Settings.parse({"topology": topology}, stack=stack.name))
    facts = {fact.name: fact for fact in found.services}
    assert list(facts) == ["postgres", "redis", "migrate", "app", "celery_worker", "celery_beat"]
    assert [name for name, fact in facts.items() if fact.singleton] == ["celery_beat"]
    assert [name for name, fact in facts.items() if fact.one_off] == ["migrate"]
    assert {(p.service, p.host_ip, p.port) for p in found.ports} == {
        ("postgres", "127.0.0.1", 5432),
        ("redis", "127.0.0.1", 6379),
        ("app", "", 8000),
    }
    assert {Path(v.path).name: v.owner for v in found.volumes} == {
        "postgres": 10004,
        "redis": 10005,
        "app": 10001,
    }
    rendered = str([f.content for f in found.files.values()])
    assert "shared_buffers=256MB" in rendered and "tcp_keepalives_idle = 30" in rendered
    assert len(found.builds) == 1


def test_a_worker_gets_the_time_of_its_longest_job() -> None:
    stack = load_stack(STACK)
    found = render_stack(stack, Settings.parse({"topology": "unified"}, stack=stack.name))
    processes = json.loads(found.files["supervisor.json"].content)["processes"]
    (worker,) = (p for p in processes if p["name"] == "celery_worker")
    assert broker.SOFT_SECONDS < broker.HARD_SECONDS < worker["stop_grace"]
    assert broker.HARD_SECONDS < broker.VISIBILITY_SECONDS


def compose(*files: str, **variables: str) -> dict[str, Any]:
    names = [word for file in files for word in ("-f", file)]
    done = subprocess.run(
        ["docker", "compose", *names, "config", "--format", "json"],
        cwd=STACK,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_laptop_has_nginx_in_front() -> None:
    found = compose("compose.yml", "compose.nginx.yml")["services"]
    assert found["nginx"]["networks"]["taifish_network"]["ipv4_address"] == "172.20.0.10"
    assert not found["app"].get("ports")
    assert found["app"]["environment"]["TRUSTED_PROXY_NETWORKS"] == "172.20.0.10"


def test_the_network_can_be_moved() -> None:
    moved = {
        "TAIFISH_SUBNET": "10.20.0.0/24",
        "POSTGRES_ADDRESS": "10.20.0.30",
        "REDIS_ADDRESS": "10.20.0.40",
    }
    found = compose("compose.yml", **moved)
    assert found["networks"]["taifish_network"]["ipam"]["config"] == [{"subnet": "10.20.0.0/24"}]
    fixed = {
        name: network["ipv4_address"]
        for name, service in found["services"].items()
        for network in service["networks"].values()
        if network
    }
    assert fixed == {"postgres": "10.20.0.30", "redis": "10.20.0.40"}
