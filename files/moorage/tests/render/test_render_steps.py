"""Hooks, migrations and times of a rollout, as the release has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from moorage.release.manifest import Hooks, Rollout

STACK = """\
x-moorage:
  unified: {build: .}
  hooks:
    before:
      - {name: Dump it, service: db, command: [dump, --all], save_as: shop.sql, timeout_seconds: 1m}
    after: [{name: Warm up, service: web, command: warm up}]
  migrations: {service: migrate, plan: [migrate, --plan]}
services:
  db: {image: mariadb}
  migrate: {build: ., command: [migrate]}
  web:
    build: .
    command: [web]
    depends_on: {migrate: {condition: service_completed_successfully}}
  tool: {build: ., command: [tool], profiles: [tools]}
"""


@pytest.mark.parametrize("topology", ["containers", "unified"])
def test_steps(topology: str, render: Callable[..., Any]) -> None:
    rendering = render(STACK, topology=topology).rendering
    said = rendering.to_dict()
    assert said["hooks"] == {
        "before": [
            {
                "name": "Dump it",
                "service": "db",
                "command": ["dump", "--all"],
                "save_as": "shop.sql",
                "timeout_seconds": 60.0,
            }
        ],
        "after": [
            {
                "name": "Warm up",
                "service": "web",
                "command": ["warm", "up"],
                "save_as": None,
                "timeout_seconds": 600.0,
            }
        ],
    }
    assert said["migrations"] == {"service": "migrate", "plan": ["migrate", "--plan"]}
    assert rendering.rollout == Rollout(10.0, 0.5, 600.0)


def test_none(render: Callable[..., Any]) -> None:
    rendering = render("services: {a: {image: x}}").rendering
    assert (rendering.hooks, rendering.migrations) == (Hooks(), None)


def test_times(render: Callable[..., Any]) -> None:
    times = {"drain_seconds": "3", "monitor_seconds": 2, "hook_timeout_seconds": 30}
    rendering = render(STACK, **times).rendering
    assert rendering.rollout == Rollout(3.0, 2.0, 30.0)
    assert [hook.timeout_seconds for hook in rendering.hooks.after] == [30.0]


@pytest.mark.parametrize("topology", ["containers", "unified"])
@pytest.mark.parametrize(
    ("change", "where"),
    [
        (("service: web, command: warm", "service: tool, command: warm"), "hooks.after[0].service"),
        (("service: db, command", "service: migrate, command"), "hooks.before[0].service"),
        (("service: migrate, plan", "service: web, plan"), "migrations.service"),
        (("service: migrate, plan", "service: db, plan"), "migrations.service"),
    ],
)
def test_refused(
    change: tuple[str, str], where: str, topology: str, refused: Callable[..., dict[str, Any]]
) -> None:
    found = refused(STACK.replace(*change), topology=topology)
    assert list(found) == [f"x-moorage.{where}"]
