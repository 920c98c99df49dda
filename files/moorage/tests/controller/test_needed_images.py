"""Images that no stack of a host uses are not built there."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.controller.plan import plan_host
from moorage.controller.project import Project

ROOT = Path(__file__).resolve().parents[4]
PILOT = Project(ROOT, (ROOT / "molecule/cases/stacks",))


@pytest.mark.parametrize(
    ("stacks", "settings", "needed"),
    [
        (["pilot"], {}, {"debian:trixie-slim", "moorage-edge"}),
        (["pilot"], {"edge_kind": "native"}, {"debian:trixie-slim"}),
        (["tg2em"], {}, {"debian:trixie-slim", "mariadb:11.8", "moorage-edge"}),
        (["pilot", "tg2em"], {}, {"debian:trixie-slim", "mariadb:11.8", "moorage-edge"}),
    ],
)
def test_a_host_builds_what_its_stacks_use(
    stacks: list[str], settings: dict[str, str], needed: set[str]
) -> None:
    variables = {"pilot_topology": "containers", **settings}
    assert plan_host(PILOT, stacks, variables)["images"]["map"].keys() == needed


def test_another_stack_s_images_have_a_host_provisioned_again() -> None:
    variables = {"pilot_topology": "containers"}
    one = plan_host(PILOT, ["pilot"], variables)["stamp"]
    assert one != plan_host(PILOT, ["pilot", "tg2em"], variables)["stamp"]
