"""Day two: a run without changes, a changed setting, a bad one, and things changed by hand."""

from __future__ import annotations

import secrets

from playbook import play
from shared_changes import (
    MARK,
    changed,
    test_a_changed_setting_restarts_only_what_it_concerns,
    test_a_dry_run_shows_the_files_and_touches_nothing,
    test_a_full_run_changes_nothing_either,
    test_a_release_that_does_not_get_healthy_gives_way,
    test_a_run_without_changes_does_nothing_and_is_short,
    test_the_database_is_reached_from_outside_only_when_asked,
    test_what_makes_no_sense_is_named_before_anything_is_touched,
    test_what_was_changed_by_hand_is_repaired,
)
from support import Machine
from tg2em import administrator, visitor

__all__ = [
    "test_a_changed_setting_restarts_only_what_it_concerns",
    "test_a_dry_run_shows_the_files_and_touches_nothing",
    "test_a_full_run_changes_nothing_either",
    "test_a_release_that_does_not_get_healthy_gives_way",
    "test_a_run_without_changes_does_nothing_and_is_short",
    "test_the_database_is_reached_from_outside_only_when_asked",
    "test_what_makes_no_sense_is_named_before_anything_is_touched",
    "test_what_was_changed_by_hand_is_repaired",
]


def test_a_stopped_service_stays_stopped_when_what_needs_it_is_replaced(
    settled: Machine, stack: str
) -> None:
    settled.sh(f"moorage stop {stack} tgstate --reason 'a test'")
    try:
        before = settled.container_ids(stack)
        play("site.yml", tg2em_environment=MARK).ok  # noqa: B018
        assert changed(before, settled.container_ids(stack)) == {f"{stack}-scraper"}
        services = settled.status(stack)
        assert services["tgstate"]["state"] == "STOPPED"
        assert services["scraper"]["state"] == "RUNNING"
        assert "SCRAPER_TEST_MARK=1" in settled.environment_of(stack, "scraper")
        play("site.yml").ok  # noqa: B018
        assert settled.status(stack)["tgstate"]["state"] == "STOPPED"
    finally:
        settled.sh(f"moorage start {stack} tgstate")
    after = settled.runs(stack)
    assert play("site.yml").ok.count("changed") == 0
    assert settled.runs(stack) == after


def test_a_replaced_secret_is_read_by_all_who_need_it(settled: Machine, stack: str) -> None:
    before, containers = settled.runs(stack), settled.container_ids(stack)
    old = settled.sh(f"cat /opt/{stack}/secrets/admin_password")
    new = secrets.token_hex(20)
    played = play("site.yml", tg2em_secrets={"admin_password": new}).ok
    assert new not in played.output
    # The one-off that keeps its hash has run once more; nobody else reads it.
    assert {n for n, run in settled.runs(stack).items() if before[n] != run} == {"migrate"}
    assert settled.container_ids(stack) == containers
    sign_in = {"username": "admin"}
    assert visitor(settled).post("/dm", "/dm", password=old, **sign_in).status == 401
    assert administrator(settled).get("/admin").status == 200
    assert play("site.yml", tg2em_secrets={"admin_password": new}).ok.count("changed") == 0
