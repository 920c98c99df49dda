"""What the application is for: an article travels from a channel's page to a visitor."""

from __future__ import annotations

from shared_application import (
    test_an_article_travels_from_the_channel_to_the_front_page,
    test_it_can_be_searched,
    test_nobody_gets_in_with_a_guess,
    test_the_admin_page_shows_the_log_that_is_written,
)

__all__ = [
    "test_an_article_travels_from_the_channel_to_the_front_page",
    "test_it_can_be_searched",
    "test_nobody_gets_in_with_a_guess",
    "test_the_admin_page_shows_the_log_that_is_written",
]
