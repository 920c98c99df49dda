"""What the tests of stacks without containers share: both stacks, on one host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import Machine, wait_until
from update_site import STACK, Harbour, Operator


@pytest.fixture(scope="session")
def operator() -> Operator:
    """Who updates; version 1 runs at first."""
    return Operator("host")


@pytest.fixture
def site(operator: Operator, machine: Machine) -> Iterator[Harbour]:
    """The host as one of harbour, in order after the test, and so before the next one."""
    found = Harbour(machine.name)
    yield found
    try:
        wait_until("nothing was left behind", found.in_order, seconds=30)
    except AssertionError:
        # The test that has left something is the one to fail, and not all that follow.
        operator.update(found.name, break_lock=True)
        raise


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add to a failure what the host has to say of harbour."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    machine = getattr(item, "funcargs", {}).get("machine")
    if report.failed and machine is not None:
        for command in (
            f"tail -n 3 /var/log/moorage/rollouts/{STACK}/*.jsonl | tail -n 30",
            f"moorage logs --lines 20 {STACK}",
            f"ls -la /opt/{STACK} /opt/{STACK}/instances",
        ):
            report.sections.append((command, machine.host.run(command).stdout))
