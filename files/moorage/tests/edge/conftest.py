"""One edge for most tests, and applications behind it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from edge_rig import Application, EdgeRig, build_image


@pytest.fixture(scope="session")
def image() -> str:
    """The edge's image."""
    return str(build_image())


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, image: str) -> Iterator[EdgeRig]:
    """An edge without TLS."""
    made = EdgeRig(tmp_path_factory.mktemp("e"))
    try:
        made.provision()
        yield made
    finally:
        made.remove()


@pytest.fixture
def application() -> Iterator[Callable[..., Application]]:
    """Starts applications that end with the test."""
    started: list[Application] = []

    def start(**options: Any) -> Application:
        started.append(Application(**options))
        return started[-1]

    yield start
    for one in started:
        one.close()
