"""What systemd knows of the stacks, and how an operator who knows it alone goes on."""

from __future__ import annotations

import pytest
from support import Machine, wait_until

UNITS = {
    "chatbot": {
        "postgresql@17-chatbot": "chatbot-postgres",
        "chatbot-server@1": "chatbot-server",
        "chatbot-task@1": "chatbot-task",
        "chatbot-task@2": "chatbot-task-2",
    },
    "harbour": {"harbour-web@1": "harbour-web", "harbour-worker@1": "harbour-worker"},
}


@pytest.mark.parametrize("stack_name", UNITS)
def test_units_bear_the_names_of_services_and_their_numbers(
    settled: Machine, stack_name: str
) -> None:
    found = {i["pid"]: i["id"] for i in settled.instances(stack_name).values() if i["pid"]}
    assert {unit.rstrip("ab") for unit in found.values()} == set(UNITS[stack_name])
    for pid, unit in found.items():
        show = f"systemctl show --property MainPID --value {unit}.service"
        assert settled.sh(show) == str(pid)
    assert settled.sh(f"systemctl is-active {stack_name}.target") == "active"


@pytest.mark.parametrize("stack_name", UNITS)
def test_a_killed_watcher_comes_back_and_touches_nobody(settled: Machine, stack_name: str) -> None:
    unit, before = f"moorage-watch-{stack_name}.service", settled.runs(stack_name)
    show = f"systemctl show --property MainPID --value {unit}"
    pid = settled.sh(show)
    settled.sh(f"systemctl kill --signal KILL {unit}")
    wait_until("another one watches", lambda: settled.sh(show) not in ("0", pid))
    wait_until("it says that it does", lambda: settled.sh(f"systemctl is-active {unit}"))
    assert settled.runs(stack_name) == before
