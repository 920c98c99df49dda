"""Fixtures that the tests of every scenario share, and what a failure shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from support import Machine, wait_until


@pytest.fixture(scope="session")
def stack() -> str:
    """The stack that the scenario deploys."""
    return os.environ.get("MOORAGE_TEST_STACK", "tg2em")


@pytest.fixture
def machine(host: Any) -> Machine:
    """The scenario's host."""
    return Machine(host, host.backend.get_hostname())


@pytest.fixture
def settled(machine: Machine, stack: str) -> Iterator[Machine]:
    """The host with every service up, before the test and after it."""

    def up() -> bool:
        services = machine.status(stack).values()
        return bool(services) and all(is_up(s) for s in services if s["wanted"] == "up")

    wait_until("every service is up", up, seconds=90, every=0.5)
    yield machine
    wait_until("every service is up again", up, seconds=90, every=0.5)


def is_up(service: dict[str, Any]) -> bool:
    """Tell whether a service runs and is healthy, or did all that it had to do."""
    if service["state"] == "EXITED":
        return bool(service["pid"] is None and not service["reason"])
    return service["state"] == "RUNNING" and service["health"] in ("none", "healthy")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add to a failure what the host has to say."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    machine = getattr(item, "funcargs", {}).get("machine")
    if report.failed and machine is not None:
        for command in (
            "moorage status",
            "docker ps -a",
            "tail -n 15 /opt/*/logs/*.log",
            "docker logs --tail 20 tg2em-unified",
            "journalctl --no-pager -n 30",
        ):
            said = machine.host.run(command)
            report.sections.append((command, said.stdout + said.stderr))
