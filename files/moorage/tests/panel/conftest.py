"""A supervisor that runs for the whole of these tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "control"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from control_rig import ControlRig

from moorage.control.process import ProcessBackend


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlRig]:
    """A supervisor with services that run, fail and end."""
    made = ControlRig(tmp_path_factory.mktemp("c"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def backend(rig: ControlRig) -> ProcessBackend:
    """What the tests are about, on that supervisor."""
    return ProcessBackend(rig.socket)
