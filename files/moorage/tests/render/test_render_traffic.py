"""Where visitors come in: pools, listeners, domains and routes, and what a rollout asks for."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

TOP = "x-moorage: {unified: {build: .}, routes: [{path: /, service: web}]}\n"
SHOP = (
    TOP
    + """\
services:
  web:
    build: .
    command: [web]
    ports: ["8080:5000", "192.0.2.1:81:5000"]
    x-moorage: {health_url: "http://127.0.0.1:5000/live"}
  pictures: {build: ., command: [pictures], ports: ["8088:8088"]}
  api: {build: ., command: [api], expose: [7000]}
  db: {image: mariadb, ports: ["3306:3306"]}
"""
)


@pytest.fixture(params=["containers", "unified"])
def shop(render: Callable[..., Any], request: pytest.FixtureRequest) -> Callable[..., Any]:
    def run(text: str = SHOP, **settings: Any) -> Any:
        options = {"topology": request.param, "behind_edge": True, **settings}
        found = render(text, **options).rendering
        return SimpleNamespace(
            edge=found.to_dict()["edge"], probe=found.to_dict()["probe"], ports=found.ports
        )

    return run


def test_listeners_and_pools(shop: Callable[..., Any]) -> None:
    edge = shop().edge
    assert edge["pools"] == {
        "web:5000": {"service": "web", "port": 5000, "health": "/live"},
        "pictures:8088": {"service": "pictures", "port": 8088, "health": ""},
    }
    assert edge["listeners"] == [
        {"port": 8080, "address": "", "pool": "web:5000"},
        {"port": 81, "address": "192.0.2.1", "pool": "web:5000"},
        {"port": 8088, "address": "", "pool": "pictures:8088"},
    ]
    assert (edge["domains"], edge["routes"]) == ([], [])
    assert edge["options"] == {
        "max_body_bytes": 67108864,
        "read_timeout_seconds": 60,
        "static_paths": [],
        "static_max_age_seconds": 3600,
        "static_immutable": False,
        "frame_options": "SAMEORIGIN",
        "hsts_seconds": 0,
        "hold_seconds": 10,
        "upstream_keepalive_seconds": 1,
        "private_paths": [],
        "private_networks": [],
        "stream_timeout_seconds": 3600,
        "max_bodies_bytes": 0,
        "min_body_rate_bytes": 1024,
        "services": {},
    }


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ("healthcheck: {test: [CMD, curl, -f, 'http://localhost:8088/health']}", "/health"),
        ("healthcheck: {test: curl -sf http://127.0.0.1:8088/ || exit 1}", "/"),
        ("healthcheck: {test: [CMD, curl, -f, 'http://localhost:9000/health']}", ""),
        ("healthcheck: {test: [CMD, test, -e, /tmp/alive]}", ""),
        ("healthcheck: {disable: true}", ""),
        ("x-moorage: {health_url: 'http://127.0.0.1:8088/up?a=b'}", "/up?a=b"),
        ("x-moorage: {health_url: 'http://127.0.0.1:8088/up', unhealthy: ignore}", ""),
    ],
)
def test_where_the_edge_asks_replicas_how_they_are(
    shop: Callable[..., Any], more: str, path: str
) -> None:
    text = SHOP.replace('["8088:8088"]}', f'["8088:8088"], {more}}}')
    assert shop(text).edge["pools"]["pictures:8088"]["health"] == path


def test_published_ports_are_facts_whoever_listens(shop: Callable[..., Any]) -> None:
    ports = {(port.service, port.port): port.edge for port in shop().ports}
    assert ports == {
        ("web", 8080): True,
        ("web", 81): True,
        ("pictures", 8088): True,
        ("db", 3306): False,
    }


def test_domains_and_routes(shop: Callable[..., Any]) -> None:
    edge = shop(domains=["shop.example.com"]).edge
    assert edge["domains"] == ["shop.example.com"]
    assert edge["routes"] == [{"path": "/", "pool": "web:5000"}]
    routes = [{"path": "/", "service": "web"}, {"path": "/api/", "service": "api"}]
    edge = shop(domains=["shop.example.com"], routes=routes).edge
    # A service that publishes nothing is reached by its route.
    assert edge["routes"][1] == {"path": "/api/", "pool": "api:7000"}
    assert edge["pools"]["api:7000"] == {"service": "api", "port": 7000, "health": ""}
    assert len(edge["listeners"]) == 3


def test_no_pool_for_a_route_that_no_domain_asks_for(shop: Callable[..., Any]) -> None:
    assert "api:7000" not in shop(routes=[{"path": "/api/", "service": "api"}]).edge["pools"]


def test_nothing_behind_the_edge(shop: Callable[..., Any]) -> None:
    found = shop("services: {db: {image: mariadb, ports: ['3306:3306']}}")
    assert found.edge is None
    assert found.probe["targets"] == []


def test_options(shop: Callable[..., Any]) -> None:
    options = shop(edge={"max_body_bytes": "1g", "hsts_seconds": 600}).edge["options"]
    assert (options["max_body_bytes"], options["hsts_seconds"]) == (1024**3, 600)
    assert options["hold_seconds"] == 10


def test_default_targets(shop: Callable[..., Any]) -> None:
    probe = shop().probe
    assert [(t["service"], t["port"], t["path"]) for t in probe["targets"]] == [
        ("web", 5000, "/live"),
        ("web", 5000, "/"),
        ("pictures", 8088, "/"),
    ]
    assert probe["targets"][0]["expect"] == [200, 399]
    del probe["targets"]
    assert probe == {
        "rate": 50,
        "timeout_seconds": 2.0,
        "method": "GET",
        "budget": 0,
        "p99_factor": 5.0,
        "p99_floor_seconds": 1.0,
        "before_seconds": 0.4,
    }


def test_a_services_own_paths(shop: Callable[..., Any]) -> None:
    text = SHOP.replace('/live"}', '/live", probe_paths: [/a, "/b?c=d"]}')
    targets = shop(text.replace("pictures]", "pictures], x-moorage: {probe_paths: []}")).probe
    assert [(t["service"], t["path"]) for t in targets["targets"]] == [
        ("web", "/a"),
        ("web", "/b?c=d"),
    ]


def test_the_operators_targets(shop: Callable[..., Any]) -> None:
    given = [{"service": "web", "path": "/x", "expect": 204}]
    probe = shop(probe={"rate": "20", "budget": 3, "targets": given}).probe
    assert (probe["rate"], probe["budget"]) == (20, 3)
    assert probe["targets"] == [
        {"service": "web", "port": 5000, "path": "/x", "expect": [204, 204]}
    ]


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a domain without an edge": (
        {"behind_edge": False, "domains": ["example.com"]},
        "settings.domains",
        "edge_kind",
    ),
    "a domain that leads nowhere": (
        {"domains": ["example.com"], "routes": []},
        "settings.domains",
        "set routes",
    ),
    "a route to nobody": (
        {"domains": ["example.com"], "routes": [{"path": "/", "service": "wbe"}]},
        "settings.routes[0].service",
        "did you mean 'web'?",
    ),
    "a route to a data service": (
        {"domains": ["example.com"], "routes": [{"path": "/", "service": "db"}]},
        "settings.routes[0].service",
        "service with build",
    ),
    "a path twice": (
        {
            "domains": ["example.com"],
            "routes": [{"path": "/", "service": "web"}, {"path": "/", "service": "api"}],
        },
        "settings.routes[1].path",
        "keep one",
    ),
    "a target that is not behind the edge": (
        {"probe": {"targets": [{"service": "db", "path": "/"}]}},
        "settings.probe.targets[0]",
        "pictures:8088, web:5000",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, refused: Callable[..., dict[str, Any]]) -> None:
    settings, where, advice = REFUSED[case]
    found = refused(SHOP, **{"topology": "containers", "behind_edge": True, **settings})
    assert list(found) == [where]
    assert advice in found[where].advice


def test_a_route_to_one_of_several_ports(refused: Callable[..., dict[str, Any]]) -> None:
    text = f"{TOP}services: {{web: {{build: ., command: [w], ports: ['80:80', '81:81']}}}}"
    found = refused(text, domains=["example.com"], behind_edge=True)
    assert found["x-moorage.routes[0].port"].message == "web listens on 80, 81"


def test_a_route_names_its_port(shop: Callable[..., Any]) -> None:
    text = SHOP.replace("service: web}]", "service: web, port: 5001}]")
    edge = shop(text, domains=["example.com"]).edge
    assert edge["routes"] == [{"path": "/", "pool": "web:5001"}]
    assert edge["pools"]["web:5001"] == {"service": "web", "port": 5001, "health": ""}
