"""Bounded waiting."""

import time
from collections.abc import Callable


def eventually(
    condition: Callable[[], object], what: Callable[[], object] = str, seconds: float = 60.0
) -> None:
    """Return once the condition holds; fails with `what()` after `seconds`."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds} s: {what()}")
        time.sleep(0.05)
