"""What the tests of updates share: two hosts, and an operator who brings them to a topology.

The topology is a parameter of the whole session: pytest runs everything in one, then everything in
the other.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playbook import play
from support import wait_until
from update_site import BASE, STACK, Harbour, Operator

# The database as the first deploy has made it.
_TABLES = "/root/harbour.db"


@pytest.fixture(scope="session")
def sites() -> tuple[Harbour, Harbour]:
    """Both hosts."""
    return Harbour("moorage-update-1"), Harbour("moorage-update-2")


@pytest.fixture(scope="session", params=["unified", "containers"])
def operator(request: pytest.FixtureRequest, sites: tuple[Harbour, Harbour]) -> Operator:
    """Who updates; both hosts run version 1 in the topology at first."""
    someone = Operator(request.param)
    for site in sites:
        # Tests leave tables that version 1 cannot live with, and this is no time for migrations.
        site.sh(f"test -e {_TABLES} || cp -p {BASE}/data/state/harbour.db {_TABLES}")
        if site.schema() != 1:
            site.sh(f"cp -p {_TABLES} {BASE}/data/state/harbour.db")
    settings = {name: value for name, value in someone.options().items() if name != "stack"}
    play("site.yml", **settings).ok  # noqa: B018
    return someone


@pytest.fixture
def site(operator: Operator, sites: tuple[Harbour, Harbour]) -> Iterator[Harbour]:
    """The first host, in order after the test, and so before the next one."""
    first = sites[0]
    yield first
    try:
        wait_until("nothing was left behind", first.in_order, seconds=30)
    except AssertionError:
        # The test that has left something is the one to fail, and not all that follow.
        operator.update(first.name, break_lock=True)
        raise


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add to a failure what the first host has to say."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    site = getattr(item, "funcargs", {}).get("site")
    if report.failed and site is not None:
        for command in (
            f"tail -n 3 /var/log/moorage/rollouts/{STACK}/*.jsonl | tail -n 40",
            f"ls -la {BASE}",
        ):
            report.sections.append((command, site.host.run(command).stdout))
        report.sections.extend(site.diagnostics(STACK))
