"""Updates of the stack itself: versions of its source, one after the other, and back."""

from __future__ import annotations

from shared_update import *  # noqa: F403 - these are tests of this scenario, too
