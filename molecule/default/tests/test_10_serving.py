"""What a visitor, an operator and a stranger reach after the deploy: 5000, 8088 and 3306."""

from __future__ import annotations

import time
from collections.abc import Callable

from playbook import play
from shared_serving import *  # noqa: F403 - these are tests of this scenario, too
from support import Machine


def test_a_run_without_changes_is_two_tasks(
    settled: Machine, stack: str, figure: Callable[[str], None]
) -> None:
    before, began = settled.runs(stack), time.monotonic()
    played = play("site.yml").ok
    figure(f"site.yml without changes: {time.monotonic() - began:.1f} s")
    # Plan and survey.
    assert (played.tasks, played.count("changed")) == (2, 0), played.output
    assert settled.runs(stack) == before


def test_a_role_is_played_alone(settled: Machine, stack: str) -> None:
    before = settled.runs(stack)
    played = play("site.yml", "--tags", "docker", moorage_full_run=True).ok
    assert "TASK [docker : Ensure the engine is configured]" in played.output
    assert "TASK [host : Ensure the host's packages" not in played.output
    assert played.count("changed") == 0, played.output
    assert settled.runs(stack) == before
