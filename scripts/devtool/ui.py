"""What a person sees: steps with their times, and problems that say what to do."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Problem(Exception):
    """Something that the person at the keyboard can put right.

    The first argument says what is wrong, the others what to do about it, a line each.
    """

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.message = message
        self.hints = hints

    def show(self) -> None:
        """Print the problem and its hints to standard error."""
        print(f"error: {self.message}", file=sys.stderr)
        for hint in self.hints:
            print(f"  {hint}", file=sys.stderr)


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    print(text, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a piece of work, and say at its end how long it took."""
    started = time.monotonic()
    say(f"==> {title}")
    yield
    say(f"    done in {time.monotonic() - started:.1f} s")
