"""Day two: a run without changes, a changed setting, a bad one, and things changed by hand."""

from __future__ import annotations

from shared_changes import *  # noqa: F403 - these are tests of this scenario, too
