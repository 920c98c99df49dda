"""What single words of the command line mean."""

from __future__ import annotations

import contextlib
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re


def is_group(name: str) -> bool:
    """Say whether a name is a group's: `web:` or, as Supervisor writes it, `web:*`."""
    return name.endswith((":", ":*"))


def span(text: str) -> float:
    """Return the seconds of a time like `90`, `30m`, `2h` or `1d`."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, factor = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        return float(number) * factor
    except ValueError:
        import argparse

        raise argparse.ArgumentTypeError(f"{text!r} is not like 90, 30m, 2h or 1d") from None


def moment(text: str) -> float:
    """Return a time in seconds since 1970: so long ago, or a local or full ISO time."""
    import argparse
    import datetime

    with contextlib.suppress(argparse.ArgumentTypeError):
        return time.time() - span(text)
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return datetime.datetime.fromisoformat(text).timestamp()
    raise argparse.ArgumentTypeError(f"{text!r} is not like 30m, 2h, 1d or 2026-12-01T08:00")


def event_or_moment(text: str) -> int | float:
    """Return an event's number as an int, a time as `moment` does."""
    return int(text) if text.isdecimal() else moment(text)


def pattern(text: str) -> re.Pattern[str]:
    """Return a regular expression."""
    import argparse
    import re

    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
