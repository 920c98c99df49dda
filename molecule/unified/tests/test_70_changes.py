"""Day two: a run without changes, a changed setting, a bad one, and things changed by hand."""

from __future__ import annotations

from shared_changes import (
    test_a_changed_setting_restarts_only_what_it_concerns,
    test_a_dry_run_shows_the_files_and_touches_nothing,
    test_a_full_run_changes_nothing_either,
    test_a_release_that_does_not_get_healthy_gives_way,
    test_a_run_without_changes_does_nothing_and_is_short,
    test_the_database_is_reached_from_outside_only_when_asked,
    test_what_makes_no_sense_is_named_before_anything_is_touched,
    test_what_was_changed_by_hand_is_repaired,
)

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
