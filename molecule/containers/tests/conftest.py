"""What this scenario adds to the fixtures of all: which containers there are."""

from __future__ import annotations

import pytest
from described import DATA, OWN, STACK


@pytest.fixture(scope="session")
def containers() -> dict[str, str]:
    """Every running container and the user that it runs as."""
    users = {name: str(STACK.services[name].user).partition(":")[0] for name in (*OWN, *DATA)}
    return {f"{STACK.name}-{name}": user for name, user in users.items()}


@pytest.fixture(scope="session")
def on_demand() -> list[str]:
    """Services that are there and do not run."""
    return ["import"]
