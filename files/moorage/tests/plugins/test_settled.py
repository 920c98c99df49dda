"""When a deploy is unnecessary: exactly when the planned release runs as a whole."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[4] / "plugins/filter/moorage.py"
PLAN = {
    "release": "0123456789ab",
    "services": [{"container": "shop-unified"}, {"container": "shop-mysql"}],
}


def settled(seen: dict[str, Any]) -> bool:
    spec = importlib.util.spec_from_file_location("moorage_filters", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return bool(module.FilterModule().filters()["moorage_settled"](PLAN, seen))


def seen(release: str = "0123456789ab", **states: tuple[str, str]) -> dict[str, Any]:
    return {
        "current": {"dir": release},
        "containers": [
            {"name": f"shop-{name}", "state": state, "health": health}
            for name, (state, health) in states.items()
        ],
    }


def test_all_up_and_healthy() -> None:
    assert settled(seen(unified=("running", "healthy"), mysql=("running", "none")))


@pytest.mark.parametrize(
    "state",
    [
        {"current": None, "containers": []},
        seen(unified=("running", "healthy")),
        seen("ba9876543210", unified=("running", "healthy"), mysql=("running", "none")),
        seen(unified=("running", "unhealthy"), mysql=("running", "none")),
        seen(unified=("running", "starting"), mysql=("running", "none")),
        seen(unified=("running", "healthy"), mysql=("exited", "none")),
    ],
)
def test_anything_less_is_not(state: dict[str, Any]) -> None:
    assert not settled(state)
