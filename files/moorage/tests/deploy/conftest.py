"""What the tests of activations share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rig import Rig


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A stack of its own on the engine, taken away afterwards."""
    monkeypatch.setattr("moorage.deploy.receipt.DEFAULT_LOG", tmp_path / "log")
    monkeypatch.setattr("moorage.deploy.systemd.start", lambda _: [])
    (tmp_path / "log" / "rollouts").mkdir(parents=True)
    rig = Rig(tmp_path)
    try:
        yield rig
    finally:
        rig.clear()
