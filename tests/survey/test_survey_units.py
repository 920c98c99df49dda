"""Which systemctl commands bring a unit to what is wanted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.moorage_host import units

Load = Callable[[str], ModuleType]

RUNNING = units.Unit(
    name="x.service",
    loaded=True,
    masked=False,
    active=True,
    enabled=True,
    refused=False,
    stale=False,
    started=None,
)
STOPPED = RUNNING._replace(active=False)
ABSENT = STOPPED._replace(loaded=False, enabled=False)


def want(**more: Any) -> dict[str, Any]:
    """Return a wanted unit as the module's arguments describe it."""
    defaults = {"state": "started", "enabled": True, "optional": False, "configuration": []}
    return {"name": "x.service", **defaults, **more}


@pytest.mark.parametrize(
    ("wanted", "unit", "commands"),
    [
        (want(), RUNNING, []),
        (want(), STOPPED, ["start"]),
        (want(), RUNNING._replace(enabled=False), ["enable"]),
        (want(), STOPPED._replace(enabled=False), ["enable", "start"]),
        (want(enabled=False), RUNNING._replace(enabled=False), []),
        (want(), STOPPED._replace(refused=True), []),
        (want(state="restarted"), RUNNING, ["restart"]),
        (want(state="reloaded"), RUNNING, ["reload"]),
        (want(state="reloaded"), STOPPED, ["start"]),
        (want(optional=True), ABSENT, []),
        (want(optional=True), None, []),
    ],
)
def test_what_is_done_to_a_unit(
    ansible_module: Load, wanted: dict[str, Any], unit: units.Unit | None, commands: list[str]
) -> None:
    planned = ansible_module("moorage_services").plan(wanted, unit, dry_run=False)
    assert planned == [[command, "x.service"] for command in commands]


def test_a_unit_that_is_not_there_is_an_error_but_in_a_dry_run(ansible_module: Load) -> None:
    module = ansible_module("moorage_services")
    assert module.plan(want(), ABSENT, dry_run=True) == [
        ["enable", "x.service"],
        ["start", "x.service"],
    ]
    with pytest.raises(module.UnitError, match="is not there"):
        module.plan(want(), ABSENT, dry_run=False)


def test_a_masked_unit_is_left_to_who_masked_it(ansible_module: Load) -> None:
    module = ansible_module("moorage_services")
    with pytest.raises(module.UnitError, match="masked"):
        module.plan(want(), STOPPED._replace(masked=True, loaded=False), dry_run=True)


def test_a_unit_that_started_before_its_configuration_is_outdated(
    ansible_module: Load, tmp_path: Path
) -> None:
    outdated = ansible_module("moorage_services").outdated
    conf = tmp_path / "x.conf"
    wanted = want(configuration=[str(conf)])
    a_minute_ago = RUNNING._replace(started=time.monotonic() - 60)
    assert not outdated(wanted, a_minute_ago)
    conf.write_text("")
    assert outdated(wanted, a_minute_ago)
    assert not outdated(wanted, a_minute_ago._replace(active=False))
    os.utime(conf, (time.time() - 120, time.time() - 120))
    assert not outdated(wanted, a_minute_ago)
