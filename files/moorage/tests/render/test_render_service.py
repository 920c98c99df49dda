"""What is asked of a service in several rooms has one answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.compose import load_stack
from moorage.render import Limits, Settings
from moorage.render.service import PlacedService, placed_services

SHOP = """
services:
  web: {build: ., ports: ["8080:80", "127.0.0.1:9000:9000", "53:53/udp", "81"], mem_limit: 1m}
  migrate: {build: .}
  worker: {build: ., depends_on: {migrate: {condition: service_completed_successfully}}}
  tool: {build: ., profiles: [tools]}
  inner: {build: ., x-moorage: {edge: false}, ports: ["82:82"]}
  db: {image: db, ports: ["5432:5432"], networks: {default: {ipv4_address: 192.0.2.2}}}
"""


@pytest.fixture
def shop(tmp_path: Path) -> dict[str, PlacedService]:
    (tmp_path / "compose.yml").write_text(SHOP, encoding="utf-8")
    given = {
        "publish": {"db": ["5433:5432"]},
        "environment": {"db": {"SIZE": "1"}},
        "limits": {"web": {"cpus": 2}},
    }
    stack = load_stack(tmp_path, on_demand=True)
    services, problems = placed_services(stack, Settings.parse(given, "shop", behind_edge=True))
    assert problems == []
    return services


def test_the_surroundings_of_a_service(shop: dict[str, PlacedService]) -> None:
    assert [name for name, service in shop.items() if service.behind_edge] == ["web", "worker"]
    assert [name for name, service in shop.items() if service.waited_for] == ["migrate"]
    assert [name for name, service in shop.items() if service.one_off] == ["migrate"]
    assert [name for name, service in shop.items() if service.on_demand] == ["tool"]
    assert [name for name, service in shop.items() if service.fixed_address] == ["db"]


def test_what_the_operator_says(shop: dict[str, PlacedService]) -> None:
    assert shop["db"].variables == {"SIZE": "1"}
    assert shop["web"].limits == Limits(memory=1024**2, cpus=2.0)
    assert [port.published for port in shop["db"].published] == ["5433"]


def test_who_holds_a_port(shop: dict[str, PlacedService]) -> None:
    """Only TCP that everybody may reach lies behind the edge."""
    assert [port.target for port in shop["web"].edge_ports] == [80]
    assert [port.target for port in shop["web"].direct_ports] == [9000, 53]
    assert [port.target for port in shop["inner"].direct_ports] == [82]
