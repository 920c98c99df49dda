"""What our own supervisor alone has: it and its guardian die, their files are damaged or gone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chatbot_site import STACK as CHATBOT
from own_supervisor import (
    NAMES,
    assert_untouched,
    assert_watched,
    kill,
    nothing_beside,
    own_runs,
    run_dir,
    told,
    unit,
)
from support import Machine, wait_until
from update_site import STACK as HARBOUR


@pytest.mark.parametrize("stack_name", NAMES)
def test_one_unit_runs_them_all_each_in_a_scope_with_its_limits(
    settled: Machine, stack_name: str
) -> None:
    shown = json.loads(told(settled, stack_name, "status", "--json"))
    found: dict[str, Any] = {status["name"]: status for status in shown if status["pid"]}
    assert {name.rstrip("ab") for name in found} == NAMES[stack_name]
    states = settled.sh(f"systemctl is-active {unit(stack_name)} {stack_name}.target").split()
    assert states == ["active", "active"]
    pids = {i["id"]: i["pid"] for i in settled.instances(stack_name).values()}
    for name, status in found.items():
        scope = f"{stack_name}-{name}.scope"
        assert pids[f"{stack_name}-{name}"] == status["pid"]
        limit = settled.sh(f"systemctl show --property MemoryMax --value {scope}")
        assert 0 < int(limit) < 1 << 30
        groups = settled.sh(f"grep -E ':memory:|^0::' /proc/{status['pid']}/cgroup")
        assert any(line.endswith(f"/{scope}") for line in groups.splitlines()), groups


@pytest.mark.parametrize("which", [(1,), (0,), (0, 1)], ids=["supervisor", "guardian", "both"])
def test_a_killed_supervisor_comes_back_and_touches_nobody(
    settled: Machine, which: tuple[int, ...]
) -> None:
    before = {stack: settled.runs(stack) for stack in NAMES}
    for stack in NAMES:
        kill(settled, stack, *which)
    assert_untouched(settled, before)
    assert_watched(settled)


def test_half_of_a_file_of_its_run_starts_nothing_twice(settled: Machine) -> None:
    before = {stack: settled.runs(stack) for stack in NAMES}
    for name in ("config.json", "state.json"):
        path = f"{run_dir(HARBOUR)}/{name}"
        halve = f"truncate --size $(($(stat -c %s {path}) / 2)) {path}"
        kill(settled, HARBOUR, 0, 1, meanwhile=halve)
        if name == "config.json":
            assert_untouched(settled, before)
    # Nobody knows any more which they were: what takes their places ends them first.
    wait_until("all run", lambda: len(own_runs(settled)) == 5 and nothing_beside(settled))
    assert settled.runs(CHATBOT) == before[CHATBOT]
    assert_watched(settled)


def test_what_it_is_told_is_made_anew_where_half_of_it_is_left(settled: Machine) -> None:
    before = {stack: settled.runs(stack) for stack in NAMES}
    path = f"/opt/{HARBOUR}/processes/supervisor.json"
    told_before = settled.sh(f"cat {path}")
    settled.sh(f"truncate --size $(($(stat -c %s {path}) / 2)) {path}")
    # Nobody has to do anything: the stack's watcher looks at its processes all the time.
    kill(settled, HARBOUR, 0, 1)
    assert settled.sh(f"cat {path}") == told_before
    assert_untouched(settled, before)
