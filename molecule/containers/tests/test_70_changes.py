"""Day two: a run without changes, a changed setting, a bad one, and things changed by hand."""

from __future__ import annotations

from playbook import play
from shared_changes import *  # noqa: F403 - these are tests of this scenario, too
from shared_changes import MARK, changed
from support import Machine


def test_a_stopped_service_stays_stopped_when_what_needs_it_is_replaced(
    settled: Machine, stack: str
) -> None:
    settled.sh(f"moorage stop {stack} tgstate --reason 'a test'")
    try:
        before = settled.container_ids(stack)
        play("site.yml", **MARK).ok  # noqa: B018
        assert changed(before, settled.container_ids(stack)) == {f"{stack}-scraper"}
        services = settled.status(stack)
        assert services["tgstate"]["state"] == "STOPPED"
        assert services["scraper"]["state"] == "RUNNING"
        assert "TEST_MARK=1" in settled.environment_of(stack, "scraper")
        play("site.yml").ok  # noqa: B018
        assert settled.status(stack)["tgstate"]["state"] == "STOPPED"
    finally:
        settled.sh(f"moorage start {stack} tgstate")
    after = settled.runs(stack)
    assert play("site.yml").ok.count("changed") == 0
    assert settled.runs(stack) == after
