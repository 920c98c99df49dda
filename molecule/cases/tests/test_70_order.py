"""Who goes before who comes: volumes, ports and names change hands, and visitors are led away."""

from __future__ import annotations

import pytest
from pilot_site import BAD, BASE, Pilot, marked, visiting

# Says for itself when it began and ended to write.
WRITER = """
import signal, sys, time
def note(what):
    with open("/state/log", "a") as out: print(what, sys.argv[1], time.time(), file=out, flush=True)
def end(*_):
    note("end")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
note("begin")
while True: time.sleep(0.05)
"""


def writer(pilot: Pilot, name: str) -> None:
    keys = {"command": ["python3", "-c", WRITER, name], "restart": "unless-stopped"}
    keys["user"] = "10001:10001"
    pilot.description.service(
        name, **keys, volumes=["state:/state"], **{"x-moorage": {"singleton": True}}
    )


def test_a_renamed_service_hands_its_volume_over(pilot: Pilot) -> None:
    pilot.description.compose["volumes"] = {"state": None}
    writer(pilot, "first")
    pilot.site().ok  # noqa: B018
    del pilot.description.compose["services"]["first"]
    writer(pilot, "second")
    pilot.update().ok  # noqa: B018
    log = [line.split()[:2] for line in pilot.sh(f"cat {BASE}/data/state/log").splitlines()]
    assert log == [["begin", "first"], ["end", "first"], ["begin", "second"]]
    assert pilot.receipt()["services"]["removed"] == ["pilot-first"]


def test_visitors_notice_nothing_of_a_service_that_is_renamed(pilot: Pilot) -> None:
    marked(pilot, "web")
    pilot.site().ok  # noqa: B018
    services = pilot.description.compose["services"]
    services["front"] = services.pop("web")
    services["front"]["environment"] = {"MARK": "front"}
    with visiting(pilot) as answers:
        pilot.update().ok  # noqa: B018
    assert {status for status, _ in answers} == {200}, answers
    assert pilot.ask("/").text == "front GET /\n"


def test_a_port_goes_from_the_edge_to_the_service_and_back(pilot: Pilot) -> None:
    marked(pilot, "edge")
    pilot.site().ok  # noqa: B018
    for mark, extension in (("itself", {"edge": False}), ("again", {})):
        pilot.description.web["x-moorage"] = extension
        marked(pilot, mark)
        pilot.update().ok  # noqa: B018
        assert pilot.ask("/").text == f"{mark} GET /\n"
    (published,) = pilot.description.web["ports"]
    for mark, port in (("for itself alone", f"127.0.0.1:{published}"), ("for all", published)):
        pilot.description.web["ports"] = [port]
        marked(pilot, mark)
        pilot.update().ok  # noqa: B018
    assert pilot.ask("/").text == "for all GET /\n"


@pytest.mark.parametrize("topology", ["containers", "unified"])
def test_a_running_service_becomes_one_that_cannot_run_twice(pilot: Pilot, topology: str) -> None:
    pilot.description.settings["pilot_topology"] = topology
    marked(pilot, "two")
    pilot.site().ok  # noqa: B018
    # From `unified`, too: the change of form and of kind are one update.
    pilot.description.settings["pilot_topology"] = "containers"
    pilot.description.web["x-moorage"] = {"singleton": True}
    marked(pilot, "one")
    with visiting(pilot) as answers:
        pilot.update().ok  # noqa: B018
    assert {status for status, _ in answers} <= {200, 503}, answers
    assert pilot.ask("/").text == "one GET /\n"
    del pilot.description.web["x-moorage"]
    marked(pilot, "two again")
    pilot.update().ok  # noqa: B018
    assert pilot.ask("/").text == "two again GET /\n"


def test_a_form_that_turns_bad_after_the_switch_loses_nobody_on_the_way_back(pilot: Pilot) -> None:
    pilot.description.settings["pilot_topology"] = "unified"
    marked(pilot, "good")
    pilot.site().ok  # noqa: B018
    pilot.description.settings["pilot_topology"] = "containers"
    pilot.description.web["command"] = ["python3", "-c", BAD["500"]]
    marked(pilot, "bad")
    with visiting(pilot) as answers:
        assert pilot.update().status != 0
    assert pilot.ask("/").text == "good GET /\n"
    # What the bad release said itself is its own; nobody found a door without anybody behind it.
    assert {status for status, _ in answers} <= {200, 500}, answers
