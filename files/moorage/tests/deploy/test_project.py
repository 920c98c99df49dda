"""What a rollout makes of the containers that it finds: pure decisions, no engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from moorage.deploy.docker import Container
from moorage.deploy.project import _dependents, _in_order, _stale
from moorage.deploy.release import Release

WEB = Container(
    id="1",
    name="shop-web",
    service="web",
    image="shop:1",
    state="running",
    health="none",
    exit_code=0,
    pid=5,
    started_at="",
    restarts=0,
    policy="unless-stopped",
    config_hash="aa",
)
MIGRATE = replace(WEB, name="shop-migrate", service="migrate", state="exited", policy="on-failure")
TOOL = replace(WEB, name="shop-tool", service="tool", state="created", policy="no")
SERVICES = [
    {"name": "web", "containers": ["shop-web"], "one_off": False},
    {"name": "migrate", "containers": ["shop-migrate"], "one_off": True},
    {"name": "tool", "containers": ["shop-tool"], "one_off": False},
]
RELEASE = Release("0" * 12, Path("/none"), {"services": SERVICES})
NEEDS = {"db": set(), "migrate": {"db"}, "web": {"migrate", "files"}, "files": set()}


def test_a_project_is_in_order_when_all_runs_that_should() -> None:
    assert _in_order(RELEASE, [WEB, MIGRATE, TOOL], {"tool"})


@pytest.mark.parametrize(
    "found",
    [
        [WEB, MIGRATE],
        [WEB, MIGRATE, TOOL, replace(WEB, name="shop-old", service="old")],
        [replace(WEB, state="exited"), MIGRATE, TOOL],
        [WEB, replace(MIGRATE, exit_code=1), TOOL],
        [WEB, replace(MIGRATE, state="created"), TOOL],
    ],
    ids=["missing", "orphan", "ended", "failed", "not yet"],
)
def test_it_is_not_when_something_is_to_be_done(found: list[Container]) -> None:
    assert not _in_order(RELEASE, found, {"tool"})


def test_what_depends_on_something_stopped_is_found_at_any_distance() -> None:
    assert _dependents(NEEDS, ["db"]) == {"migrate", "web"}
    assert _dependents(NEEDS, ["files"]) == {"web"}
    assert _dependents(NEEDS, ["web"]) == set()
    assert _dependents(NEEDS, []) == set()


def test_a_container_is_stale_when_compose_would_make_another_one() -> None:
    assert _stale([WEB, MIGRATE, TOOL], {"web": "aa", "migrate": "bb"}) == {"migrate"}
