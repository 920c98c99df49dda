"""What the application is for: an article travels from a channel's page to a visitor."""

from __future__ import annotations

from tg2em_articles import *  # noqa: F403 - these are tests of this scenario, too
