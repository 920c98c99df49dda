"""The edge that dies, or that somebody has stopped."""

from __future__ import annotations

from shared_edge import *  # noqa: F403 - these are tests of this scenario, too
