"""The order of an activation and its ways back, on a topology that lives in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from moorage.deploy.activate import Outcome, Request, activate
from moorage.deploy.docker import DockerError
from moorage.deploy.gate import Check
from moorage.deploy.journal import Journal
from moorage.deploy.layout import Layout
from moorage.deploy.lock import hold
from moorage.deploy.release import Release, ReleaseError, current_release, write_release

OLD, NEW = "0" * 11 + "1", "0" * 11 + "2"


class Memory:
    """A topology without a host: it remembers what it was told and is as well as it is told."""

    def __init__(self) -> None:
        self.running: str | None = None
        self.calls: list[str] = []
        self.sick: set[str] = set()
        self.unstartable: set[str] = set()
        self.lacking: set[str] = set()
        self.kept: list[str] = []

    def preflight(self, release: Release) -> None:
        self.calls.append(f"preflight {release.id}")
        if release.id in self.lacking:
            raise ReleaseError(f"release {release.id} needs images")

    def start(self, release: Release, timeout_seconds: float) -> dict[str, Any]:
        self.calls.append(f"start {release.id}")
        if release.id in self.unstartable:
            raise DockerError("`docker compose up` failed: no space left")
        changed = self.running != release.id
        self.running = release.id
        return {"changed": changed, "containers": [], "removed": [], "processes": []}

    def restart(self, services: Sequence[str]) -> None:
        self.calls.extend(f"restart {service}" for service in services)

    def checks(self) -> Sequence[Check]:
        well = self.running not in self.sick
        return [Check("web", well, "FATAL: exits at once", hopeless=not well, log=["boom"])]

    def prune(self, keep: Sequence[Release]) -> list[str]:
        self.kept = sorted(release.id for release in keep)
        return []

    def retire(self, release: Release) -> None:
        self.calls.append(f"retire {release.id}")

    def remove(self) -> None:
        self.running = None


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout.of("shop", tmp_path / "opt", tmp_path / "run")
    layout.releases.mkdir(parents=True)
    for ident in (OLD, NEW):
        write_release(layout, ident, {"f": (ident, 0o644)}, {"topology": "memory", "images": []})
    return layout


def run(layout: Layout, memory: Memory, release: str, tmp: str = "journal.jsonl") -> Outcome:
    journal = Journal(layout.base / tmp)
    return activate(Request("shop", release, gate_timeout=0), layout, journal, lambda *_: memory)


def test_the_first_one_is_activated_and_the_next_time_unchanged(layout: Layout) -> None:
    memory = Memory()
    first = run(layout, memory, OLD)
    assert (first.outcome, first.changed, first.previous) == ("activated", True, None)
    again = run(layout, memory, OLD)
    assert (again.outcome, again.changed, again.previous) == ("unchanged", False, OLD)


def test_a_sick_release_gives_way_to_the_previous_one(layout: Layout) -> None:
    memory = Memory()
    run(layout, memory, OLD)
    memory.sick = {NEW}
    outcome = run(layout, memory, NEW)
    assert outcome.outcome == "restored" and not outcome.ok
    assert "web: FATAL: exits at once" in outcome.message and "| boom" in outcome.message
    assert memory.running == OLD
    running = current_release(layout)
    assert running is not None and running.id == OLD, "current never named the sick one"


def test_one_that_cannot_start_gives_way_too(layout: Layout) -> None:
    memory = Memory()
    run(layout, memory, OLD)
    memory.unstartable = {NEW}
    assert run(layout, memory, NEW).outcome == "restored"
    assert memory.running == OLD


def test_services_that_are_named_start_anew(layout: Layout) -> None:
    memory = Memory()
    run(layout, memory, OLD)
    journal = Journal(layout.base / "j")
    request = Request("shop", OLD, gate_timeout=0, restart=["web"])
    outcome = activate(request, layout, journal, lambda *_: memory)
    assert outcome.outcome == "activated" and outcome.changed
    assert memory.calls[-1] == "restart web"


def other_form(layout: Layout) -> str:
    ident = "0" * 11 + "3"
    write_release(layout, ident, {"f": ("3", 0o644)}, {"topology": "other", "images": []})
    return ident


def test_the_old_form_is_retired_once_the_new_one_is_well(layout: Layout) -> None:
    memory = Memory()
    run(layout, memory, OLD)
    ident = other_form(layout)
    memory.calls.clear()
    assert run(layout, memory, ident).outcome == "activated"
    assert memory.calls == [f"preflight {ident}", f"start {ident}", f"retire {OLD}"]
    assert memory.kept == [OLD, NEW, ident], "what a retained release needs is never pruned"


def test_a_new_form_that_fails_is_retired_after_going_back(layout: Layout) -> None:
    memory = Memory()
    run(layout, memory, OLD)
    ident = other_form(layout)
    memory.sick = {ident}
    memory.calls.clear()
    assert run(layout, memory, ident).outcome == "restored"
    assert memory.calls[1:] == [f"start {ident}", f"start {OLD}", f"retire {ident}"]


def test_missing_images_touch_nothing(layout: Layout) -> None:
    memory = Memory()
    run(layout, memory, OLD)
    memory.lacking = {NEW}
    memory.calls.clear()
    outcome = run(layout, memory, NEW)
    assert outcome.outcome == "failed" and not outcome.changed
    assert memory.calls == [f"preflight {NEW}"]


def test_the_first_deploy_that_fails_says_so(layout: Layout) -> None:
    memory = Memory()
    memory.sick = {OLD}
    outcome = run(layout, memory, OLD)
    assert outcome.outcome == "failed" and outcome.previous is None
    assert current_release(layout) is None


def test_when_going_back_fails_both_reasons_are_told(layout: Layout) -> None:
    memory = Memory()
    run(layout, memory, OLD)
    memory.unstartable = {OLD, NEW}
    outcome = run(layout, memory, NEW)
    assert outcome.outcome == "failed"
    assert outcome.message.count("no space left") == 2


def test_an_unknown_release_or_topology_is_an_outcome(layout: Layout) -> None:
    outcome = run(layout, Memory(), "f" * 12)
    assert outcome.outcome == "failed" and "no release ffffffffffff" in outcome.message
    journal = Journal(layout.base / "j")
    outcome = activate(Request("shop", OLD), layout, journal)
    assert outcome.outcome == "failed" and "no topology 'memory'" in outcome.message


def test_a_second_one_is_refused_with_the_name_of_the_first(layout: Layout) -> None:
    with hold(layout.lock, "deploy of release x", "ada"):
        outcome = run(layout, Memory(), OLD)
    assert outcome.outcome == "locked" and "ada holds the lock" in outcome.message


def test_the_journal_tells_phases_and_outcome(layout: Layout) -> None:
    run(layout, Memory(), OLD)
    events = [json.loads(line) for line in (layout.base / "journal.jsonl").read_text().splitlines()]
    phases = [e["name"] for e in events if e["event"] == "phase-end"]
    assert phases == ["preflight", "start", "gate", "switch"]
    assert events[-1]["event"] == "outcome" and set(events[-1]["phases"]) == set(phases)
