"""The small stack serves, in both topologies, and a second run changes nothing."""

from __future__ import annotations

import pytest
from pilot_site import Pilot


@pytest.mark.parametrize("topology", ["containers", "unified"])
def test_an_update_brings_the_new_build(pilot: Pilot, topology: str) -> None:
    pilot.description.settings["pilot_topology"] = topology
    for mark in ("1", "2"):
        pilot.description.web["environment"] = {"MARK": mark}
        pilot.update().ok  # noqa: B018
        assert pilot.ask("/").text == f"{mark} GET /\n"
    assert pilot.update().ok.count("changed") == 0
