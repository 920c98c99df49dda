"""What this scenario adds to the fixtures of all: which containers there are."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def containers() -> dict[str, str]:
    """Every running container and the user that it runs as."""
    return {"tg2em-unified": "10001", "tg2em-mysql": "10002"}


@pytest.fixture(scope="session")
def on_demand() -> list[str]:
    """Services that are there and do not run: none, as no profile is switched on."""
    return []
