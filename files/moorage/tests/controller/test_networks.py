"""Subnets in a plan: what two stacks, or the engine, would both have, and who is behind one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moorage.compose.errors import ComposeError
from moorage.controller.plan import plan_host
from moorage.controller.project import Project
from moorage.deploy.claims import claims_of

ROOT = Path(__file__).resolve().parents[4]

COMPOSE = """
x-moorage: {unified: {build: .}}
services:
  web:
    build: .
    command: [web]
    environment: {FROM: "${MOORAGE_PROXY_NETWORKS}", COUNT: "${MOORAGE_PROXIES}"}
    networks: [n]
networks:
  n: {ipam: {config: [{subnet: "SUBNET"}]}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a checkout with two stacks of its own beside the images that come with this one."""
    for name in ("roles", "files/images", "files/moorage", "group_vars"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / name)
    return Project(tmp_path)


def stack(project: Project, name: str, subnet: str) -> None:
    directory = project.root / "files/stacks" / name
    directory.mkdir(parents=True)
    (directory / "compose.yml").write_text(f"name: {name}" + COMPOSE.replace("SUBNET", subnet))
    (directory / "Dockerfile").write_text("FROM moorage/base:trixie\n")


def plan(project: Project, *names: str, **variables: Any) -> dict[str, Any]:
    topologies = {f"{name}_topology": "containers" for name in names}
    return plan_host(project, ["all", *names], topologies | variables)


def environment(found: dict[str, Any], name: str) -> dict[str, str]:
    (mine,) = [stack for stack in found["stacks"] if stack["name"] == name]
    services = json.loads(mine["files"]["compose.json"]["content"])["services"]
    (values,) = {json.dumps(s["environment"]) for s in services.values() if "environment" in s}
    return dict(json.loads(values))


def test_an_application_knows_the_edge_by_its_own_subnet_as_well(project: Project) -> None:
    stack(project, "shop", "172.20.0.0/16")
    stack(project, "blog", "${BLOG:-172.21.0.0/16}")
    found = plan(project, "shop", "blog", blog_variables={"BLOG": "172.22.0.0/16"})
    usual = "127.0.0.0/8,172.28.0.0/14"
    assert environment(found, "shop")["FROM"] == f"{usual},172.20.0.0/16"
    assert environment(found, "blog")["FROM"] == f"{usual},172.22.0.0/16"
    none = plan(project, "shop", edge_kind="none")
    assert environment(none, "shop") == {"FROM": "", "COUNT": "0"}


def test_a_survey_is_told_of_the_subnets(project: Project) -> None:
    stack(project, "shop", "172.20.0.0/16")
    (survey,) = plan(project, "shop")["survey_stacks"]
    assert [claim for claim in survey["claims"] if claim["kind"] == "subnet"] == [
        {
            "kind": "subnet",
            "name": "172.20.0.0/16",
            "service": "its network n",
            "address": "shop_n",
        }
    ]


def test_two_stacks_of_a_host_have_subnets_apart(project: Project) -> None:
    stack(project, "shop", "172.20.0.0/16")
    stack(project, "blog", "172.20.9.0/24")
    with pytest.raises(ComposeError) as error:
        plan(project, "shop", "blog")
    assert "shop.networks.n.ipam.config: overlaps 172.20.9.0/24, that of the network n of the " in (
        str(error.value)
    )
    # On hosts of their own they may have the same.
    assert plan(project, "shop")["stacks"] and plan(project, "blog")["stacks"]


def test_a_subnet_lies_outside_of_the_engine_s_pools(project: Project) -> None:
    stack(project, "shop", "172.28.5.0/24")
    said = r"shop\.networks\.n\.ipam\.config: lies in 172\.28\.0\.0/14, .*docker_address_pools"
    with pytest.raises(ComposeError, match=said):
        plan(project, "shop")
    pools = [{"base": "10.50.0.0/16", "size": 24}]
    assert plan(project, "shop", docker_address_pools=pools)["stacks"]


@pytest.mark.parametrize("topology", ["containers", "unified"])
def test_data_services_are_this_machine_s_alone_until_they_are_published(topology: str) -> None:
    def addresses(**variables: Any) -> dict[str, set[str]]:
        given = {"taifish_topology": topology, **variables}
        (found,) = plan_host(Project(ROOT), ["all", "taifish"], given)["stacks"]
        compose = json.loads(found["files"]["compose.json"]["content"])
        asked = {(port["service"], port["port"], port["address"]) for port in found["ports"]}
        claims = {(c.service, c.name, c.address) for c in claims_of(found["manifest"], compose)}
        published = {
            name: {port["host_ip"] for port in compose["services"][name]["ports"]}
            for name in ("postgres", "redis")
        }
        for name, port in (("postgres", 5432), ("redis", 6379)):
            # What a survey looks at before anything is touched.
            assert {(name, port, address) for address in published[name]} <= asked
            assert {(name, f"{port}/tcp", address) for address in published[name]} <= claims
        return published

    assert addresses() == {"postgres": {"127.0.0.1"}, "redis": {"127.0.0.1"}}
    opened = addresses(taifish_publish={"postgres": ["192.0.2.1:5432:5432"]})
    assert opened == {"postgres": {"192.0.2.1"}, "redis": {"127.0.0.1"}}
