"""What the cases share: one host with pilot, described anew for each module of tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from pilot_site import STACK, Description, Pilot


@pytest.fixture
def description(tmp_path_factory: pytest.TempPathFactory) -> Description:
    """The stack as its directory has it; a test changes it before it deploys."""
    return Description.fresh(tmp_path_factory.mktemp("stacks"))


@pytest.fixture
def pilot(description: Description) -> Pilot:
    """The host; what runs there is what the last test has left."""
    # By name: the scenario's other host is a neighbour, and no test is for it alone.
    return Pilot(os.environ.get("MOORAGE_CASES_HOST", "moorage-cases"), description)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add to a failure what the host has to say."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    site = getattr(item, "funcargs", {}).get("pilot")
    if report.failed and site is not None:
        report.sections.extend(site.diagnostics(STACK))
