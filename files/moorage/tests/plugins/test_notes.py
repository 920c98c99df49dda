"""What a description asks for in vain is told once, with the release that is brought."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[4] / "plugins/action/moorage_prepare.py"
SPEC = importlib.util.spec_from_file_location("moorage_prepare_action", SOURCE)
assert SPEC and SPEC.loader
ACTION = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ACTION)

WRITTEN = {
    "changed": True,
    "release": "1" * 12,
    "lacking": {"secrets": [], "images": [], "pulls": []},
    "notes": ["of the host"],
    "stale_secrets": [],
    "operations": [],
    "token": "",
    "diff": [],
}


def plan(*notes: str) -> dict[str, Any]:
    names = ("base", "release", "files", "directories", "encrypted", "packages")
    return {
        **dict.fromkeys(names, ""),
        "name": "shop",
        "prefix": "shop",
        "manifest": {},
        "secrets": [],
        "pulls": [],
        "scaling": False,
        "notes": list(notes),
    }


def bring(
    monkeypatch: pytest.MonkeyPatch, host: str, plans: Mapping[str, Any], check: bool
) -> tuple[list[str], list[str]]:
    """Return what the task of a host prints, and the notes of its result."""
    printed: list[str] = []
    task = SimpleNamespace(args={}, check_mode=check, async_val=0, action="moorage_prepare")
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
    templar = SimpleNamespace(template=lambda value: value)
    action = ACTION.ActionModule(task, connection, None, None, templar, None)
    options = {"plan": plans[host], "images": {}, "service": "", "purpose": "deploy"}
    given = (None, {**options, "lock_wait": 0, "break_lock": False})
    monkeypatch.setattr(action, "validate_argument_spec", lambda argument_spec: given)
    monkeypatch.setattr(action, "_execute_module", lambda **_: dict(WRITTEN))
    monkeypatch.setattr(ACTION.Display, "display", lambda _, text: printed.append(text))
    known = {name: {"moorage_plan": {"stacks": [found]}} for name, found in plans.items()}
    variables = {"inventory_hostname": host, "stack_hosts": list(plans), "hostvars": known}
    return printed, action.run(task_vars=variables)["notes"]


@pytest.mark.parametrize("check", [False, True])
def test_the_first_host_tells_and_others_only_what_is_theirs(
    monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    plans = {"a": plan("web.tty has no effect"), "b": plan("web.tty has no effect", "more")}
    printed, notes = bring(monkeypatch, "a", plans, check)
    assert notes == ["web.tty has no effect", "of the host"]
    assert printed == ["  [a] shop: web.tty has no effect", "  [a] shop: of the host"]
    assert bring(monkeypatch, "b", plans, check)[1] == ["more", "of the host"]
