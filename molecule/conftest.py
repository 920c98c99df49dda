"""What the tests of every scenario share: the host they look at, and what a failure shows.

pytest loads this file for each scenario, as it lies above their tests; it also makes the helpers
in molecule/tests importable by name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_SHARED = Path(__file__).parent / "tests"
sys.path.insert(0, str(_SHARED))
# Their assertions tell what was seen, as those of a scenario's own tests do.
pytest.register_assert_rewrite(*(path.stem for path in _SHARED.glob("*.py")))

import described
from described import STACK
from support import Machine, wait_until_up

# Whether the test before has left every service up, as `settled` has seen.
_SETTLED = pytest.StashKey[bool]()
# Measured while testing; shown at the end whether or not anything failed.
_FIGURES: list[str] = []


@pytest.fixture(scope="session")
def stack() -> str:
    """The stack that the scenario deploys."""
    return STACK.name


@pytest.fixture
def machine(host: Any) -> Machine:
    """The scenario's host."""
    return Machine(host, host.backend.get_hostname())


@pytest.fixture
def containers(machine: Machine, stack: str) -> dict[str, int]:
    """Every running container of the stack, and the user that it runs as."""
    return described.containers(machine.topology(stack), machine.user(stack))


@pytest.fixture
def on_demand(machine: Machine, stack: str) -> list[str]:
    """Services of the stack that are there and do not run."""
    return described.ON_DEMAND if machine.topology(stack) == "containers" else []


@pytest.fixture
def settled(machine: Machine, stack: str, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """The host with every service up, before the test and after it."""
    stash = request.session.stash
    try:
        if not stash.get(_SETTLED, False):
            wait_until_up(machine, stack)
        stash[_SETTLED] = False
        yield machine
        wait_until_up(machine, stack, "every service is up again")
        stash[_SETTLED] = True
    except AssertionError:
        # Every further test would wait as long, and fail for the same reason.
        request.session.shouldfail = "the host did not settle"
        raise


@pytest.fixture
def figure() -> Any:
    """A function that notes something measured, for the end of the run."""
    return _FIGURES.append


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have `settled` look again after a test that did without it."""
    if "settled" not in getattr(item, "fixturenames", ()):
        item.session.stash[_SETTLED] = False


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add to a failure what the host has to say."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    machine = getattr(item, "funcargs", {}).get("machine")
    if report.failed and machine is not None:
        report.sections.extend(machine.diagnostics(STACK.name))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what was measured."""
    if _FIGURES:
        terminalreporter.section("measured")
        for line in _FIGURES:
            terminalreporter.write_line(line)
