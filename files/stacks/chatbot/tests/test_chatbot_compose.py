"""The Compose file: what Moorage reads of it, and what Compose does."""

import json
import os
import subprocess

import pytest
from chatbot.config import Config
from chatbot_rig import STACK

from moorage.compose import load_stack
from moorage.render import render_stack
from moorage.settings.stack import Settings


@pytest.mark.parametrize("topology", ["containers", "unified"])
def test_it_is_rendered(topology: str) -> None:
    stack = load_stack(STACK, on_demand=True)
    settings = Settings.parse({"topology": topology}, stack=stack.name, behind_edge=True)
    found = render_stack(stack, settings)
    facts = {fact.name: fact for fact in found.services}
    assert list(facts) == ["postgres", "migrate", "server", "task"]
    assert [name for name, fact in facts.items() if fact.one_off] == ["migrate"]
    assert {(p.service, p.host_ip, p.port) for p in found.ports} == {("server", "", 8010)}
    # By the edge, so an update is noticed by nobody; it also reads requests whole, which uWSGI does
    # in the processes that answer them.
    assert [u.rolled for u in found.units if "server" in (u.service, *u.processes)] == [True]
    assert {v.path: v.owner for v in found.volumes} == {"/opt/chatbot/data/postgres": 10004}
    assert len(found.builds) == 1


@pytest.mark.parametrize(("variables", "count"), [({}, 4), ({"WS": "2"}, 2)])
def test_there_are_as_many_workers_as_ws_says(variables: dict[str, str], count: int) -> None:
    stack = load_stack(STACK, environment=variables)
    found = render_stack(stack, Settings.parse({"topology": "unified"}, stack=stack.name))
    processes = json.loads(found.files["supervisor.json"].content)["processes"]
    tasks = [p for p in processes if p["name"].startswith("task")]
    assert len(tasks) == count and len(processes) == count + 2
    assert all(Config.job_seconds < p["stop_grace"] for p in tasks)
    done = subprocess.run(
        ["docker", "compose", "config", "--format", "json"],
        cwd=STACK,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert services["task"]["deploy"]["replicas"] == count
    assert all(service["read_only"] for service in services.values())
