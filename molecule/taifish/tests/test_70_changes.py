"""Day two: a run without changes, a changed setting, a replaced secret, a bad release."""

from __future__ import annotations

from shared_changes import (
    test_a_changed_setting_restarts_only_what_it_concerns,  # noqa: F401 - of this scenario, too
    test_a_release_that_does_not_get_healthy_gives_way,  # noqa: F401
    test_a_replaced_secret_of_what_visitors_reach_fails_nobody,  # noqa: F401
    test_a_run_without_changes_does_nothing_and_is_short,  # noqa: F401
    test_the_database_is_reached_from_outside_only_when_asked,  # noqa: F401
)
