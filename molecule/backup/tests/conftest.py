"""The two hosts of the scenario."""

from __future__ import annotations

import pytest
from backup_site import STACKS, machine_of
from support import Machine, wait_until_up


@pytest.fixture(scope="session")
def spare() -> Machine:
    """The host that nothing is on."""
    return machine_of("moorage-backup-2")


@pytest.fixture
def filled() -> Machine:
    """The first host, with both stacks up and something in each that could be lost."""
    first = machine_of("moorage-backup-1")
    for stack, site in STACKS.items():
        wait_until_up(first, stack)
        site.ensure_content(first)
    return first
