"""A supervisor, a stack of containers and a gateway that run for the whole of these tests."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from control_rig import backend, rig
from gateway_rig import EngineTap, Gateway, Stack

__all__ = ["backend", "gateway", "rig", "stack", "tap"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tell the operations apart that schemathesis tries under one name: pytest-xdist tries one."""
    seen = Counter[str]()
    for item in items:
        seen[item.nodeid] += 1
        if item.parent is not None and seen[item.nodeid] > 1:
            # There is no public way to give an item another one.
            item._id = item.parent.id.child(f"{item.name}[{seen[item.nodeid]}]")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of containers, empty at first."""
    made = Stack(tmp_path_factory.mktemp("s"))
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def tap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineTap]:
    """What stands between the gateway and the engine."""
    made = EngineTap(tmp_path_factory.mktemp("t") / "engine.sock")
    yield made
    made.close()


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, stack: Stack, tap: EngineTap
) -> Iterator[Gateway]:
    """A gateway of the stack."""
    made = Gateway(tmp_path_factory.mktemp("g"), stack.release, tap.path)
    try:
        yield made
    finally:
        made.stop()
