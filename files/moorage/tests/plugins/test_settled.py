"""When a deploy is unnecessary: exactly when the planned release runs as a whole."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[4] / "plugins/filter/moorage.py"
RELEASE = "0123456789ab"


def service(name: str, kind: str = "container", **more: bool) -> dict[str, Any]:
    fact: dict[str, Any] = {"kind": kind, "containers": [f"shop-{name}"]}
    return fact | {"one_off": False, "on_demand": False} | more


UNIFIED = [service("unified", "process"), service("mysql")]
CONTAINERS = [
    service("web"),
    service("migrate", one_off=True),
    service("import", on_demand=True),
]


def settled(services: list[dict[str, Any]], seen: dict[str, Any]) -> bool:
    spec = importlib.util.spec_from_file_location("moorage_filters", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    plan = {"release": RELEASE, "services": services}
    return bool(module.FilterModule().filters()["moorage_settled"](plan, seen))


State = tuple[str, str, int | None]


def seen(release: str = RELEASE, **states: State) -> dict[str, Any]:
    return look(states, release)


def look(states: dict[str, State], release: str = RELEASE) -> dict[str, Any]:
    return {
        "current": {"dir": release},
        "containers": [
            {"name": f"shop-{name}", "state": state, "health": health, "exit_code": code}
            for name, (state, health, code) in states.items()
        ],
    }


UP: State = ("running", "healthy", None)
PLAIN: State = ("running", "none", None)


def test_all_up_and_healthy() -> None:
    assert settled(UNIFIED, seen(unified=UP, mysql=PLAIN))


@pytest.mark.parametrize(
    "state",
    [
        {"current": None, "containers": []},
        seen(unified=UP),
        {**seen(unified=UP, mysql=PLAIN), "interrupted": True},
        {**seen(unified=UP, mysql=PLAIN), "stale_secrets": ["token"]},
        {**seen(unified=UP, mysql=PLAIN), "astray": ["/opt/s/data/x: 0:0 instead of 1:1"]},
        {**seen(unified=UP, mysql=PLAIN), "lacking": ["moorage/s-web:0123456789ab"]},
        seen("ba9876543210", unified=UP, mysql=PLAIN),
        seen(unified=("running", "unhealthy", None), mysql=PLAIN),
        seen(unified=("running", "starting", None), mysql=PLAIN),
        seen(unified=UP, mysql=("exited", "none", 0)),
        seen(unified=("exited", "none", 0), mysql=PLAIN),
        # What a change of form has left that was cut off.
        seen(unified=UP, mysql=PLAIN, web=("exited", "none", 0)),
    ],
)
def test_anything_less_is_not(state: dict[str, Any]) -> None:
    assert not settled(UNIFIED, state)


def test_what_has_ended_well_or_waits_to_be_wanted_is_in_order() -> None:
    ended: State = ("exited", "none", 0)
    made: State = ("created", "none", None)
    done = {"web": UP, "migrate": ended}
    assert settled(CONTAINERS, look({**done, "import": made}))
    assert settled(CONTAINERS, look({**done, "import": UP}))
    assert not settled(CONTAINERS, look(done))
    failed: State = ("exited", "none", 1)
    assert not settled(CONTAINERS, look({"web": UP, "migrate": failed, "import": made}))


def test_an_interrupted_rollout_is_never_in_order() -> None:
    found = seen(unified=("running", "healthy", None), mysql=("running", "healthy", None))
    assert settled(UNIFIED, found)
    assert not settled(UNIFIED, {**found, "interrupted": True})
