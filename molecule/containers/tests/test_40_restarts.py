"""Restarts of everything that can restart: all is back without help, and no data is lost."""

from __future__ import annotations

from shared_restarts import *  # noqa: F403 - these are tests of this scenario, too
