"""What a host needs below its stacks: an engine, or Debian's packages, and which edge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moorage import render
from moorage.compose.errors import ComposeError
from moorage.controller.needs import in_containers, native
from moorage.controller.plan import plan_host
from moorage.controller.project import Project
from moorage.render import Rendering
from moorage.render.context import Context
from moorage.render.topology import Topology

ROOT = Path(__file__).resolve().parents[4]
COMPOSE = """\
services:
  web:
    build: .
    ports: ["%s:5000"]
    environment: {FROM: "${MOORAGE_PROXY_NETWORKS}", COUNT: "${MOORAGE_PROXIES}"}
"""
EVERYWHERE = {"kiosk_topology": "containers", "shop_topology": "bare"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return this checkout with the stacks `kiosk` and `shop`."""
    for name, port in (("kiosk", 7001), ("shop", 7002)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "compose.yml").write_text(COMPOSE % port)
        (tmp_path / name / "Dockerfile").write_text("FROM debian:trixie-slim\n")
    return Project(ROOT, (tmp_path,))


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a topology without an engine, whose services want PostgreSQL."""
    like = render._TOPOLOGIES["containers"]

    def made(ctx: Context) -> Rendering:
        return replace(like.render(ctx), topology="bare", packages=("postgresql-17", "libpq5"))

    entry = Topology("bare", made, {}, engine=False)
    monkeypatch.setitem(render._TOPOLOGIES, "bare", entry)


def plan(
    project: Project, *stacks: str, beside: Sequence[str] = (), **variables: Any
) -> dict[str, Any]:
    return plan_host(project, stacks, EVERYWHERE | variables, beside)


PACKAGES = ["libpq5", "postgresql-17", "python3-pip", "python3-venv"]


@pytest.mark.parametrize(
    ("stacks", "beside", "asked", "engine", "edge", "packages"),
    [
        ("kiosk", "", "auto", True, "container", []),
        ("shop", "", "auto", False, "native", PACKAGES),
        ("kiosk shop", "", "auto", True, "container", PACKAGES),
        # A run for one stack takes nothing from the others.
        ("shop", "kiosk shop", "auto", True, "container", PACKAGES),
        ("kiosk", "kiosk shop", "auto", True, "container", PACKAGES),
        ("shop", "", "container", True, "container", PACKAGES),
        ("shop", "", "none", False, "none", PACKAGES),
        ("kiosk", "", "native", True, "native", []),
        ("", "", "auto", False, "native", []),
    ],
)
def test_a_host_gets_what_its_stacks_need(
    project: Project,
    stacks: str,
    beside: str,
    asked: str,
    engine: bool,
    edge: str,
    packages: list[str],
) -> None:
    found = plan(project, *stacks.split(), beside=beside.split(), edge_kind=asked)
    assert (found["engine"], found["edge"]["kind"]) == (engine, edge)
    assert bool(found["edge"]["image"]) == (edge == "container")
    assert found["native"]["packages"] == packages
    assert found["native"]["masked"] == (["postgresql.service"] if packages else [])


@pytest.mark.parametrize(
    ("topology", "engine"), [("unified", True), ("containers", True), ("host", False)]
)
def test_topologies_and_engines(topology: str, engine: bool) -> None:
    assert in_containers({"topology": topology}) == engine


def test_a_stack_that_cannot_be_read_keeps_a_host_s_engine(project: Project) -> None:
    (project.stacks_dirs[0] / "kiosk/compose.yml").write_text("services: [\n")
    found = plan(project, "shop", beside=["kiosk"])
    assert found["engine"] and found["edge"]["kind"] == "container"
    with pytest.raises(ComposeError, match="topology 'bear' cannot be rendered"):
        plan(project, "shop", shop_topology="bear")


def test_another_package_has_a_host_provisioned_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan(project, "shop")["stamp"]
    assert plan(project, "shop")["stamp"] == before
    entry = render._TOPOLOGIES["bare"]

    def more(ctx: Context) -> Rendering:
        return replace(entry.render(ctx), packages=("redis-server",))

    monkeypatch.setitem(render._TOPOLOGIES, "bare", replace(entry, render=more))
    assert plan(project, "shop")["stamp"] != before


def test_what_an_operator_runs_is_not_kept_from_starting(project: Project) -> None:
    found = plan(project, "shop", native_kept_units=["postgresql.service"])["native"]
    assert found == {"packages": PACKAGES, "masked": []}
    with pytest.raises(ComposeError, match="native_kept_units"):
        plan(project, "shop", native_kept_units=["postgresql"])


@pytest.mark.parametrize(
    ("package", "unit"),
    [
        ("postgresql", "postgresql.service"),
        ("postgresql-common", "postgresql.service"),
        ("postgresql-client-17", None),
        ("mariadb-server", "mariadb.service"),
        ("mariadb-server-core", None),
        ("redis", "redis-server.service"),
        ("redis-tools", None),
    ],
)
def test_servers_among_packages(package: str, unit: str | None) -> None:
    found = native([Rendering("bare", {}, packages=(package,))], ())
    assert found["masked"] == ([unit] if unit else [])


def test_what_is_not_in_a_container_is_asked_by_the_edge_from_this_host(project: Project) -> None:
    found = plan(project, "kiosk", "shop")
    seen = {}
    for stack in found["stacks"]:
        services = json.loads(stack["files"]["compose.json"]["content"])["services"]
        seen[stack["name"]] = services["web.a"]["environment"]["FROM"]
    assert seen == {"kiosk": "127.0.0.0/8,172.28.0.0/14", "shop": "127.0.0.0/8"}
