"""Durations and shell words as Compose files write them."""

from __future__ import annotations

import re
import shlex
from decimal import Decimal
from fractions import Fraction

_UNITS = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `1m30s`, `1.5h` or `250ms`; ValueError when it is none."""
    if text == "0":
        return 0.0
    nanoseconds, position = 0, 0
    for match in _PART.finditer(text):
        if match.start() != position:
            break
        nanoseconds += int(Fraction(Decimal(match[1])) * _UNITS[match[2]] * 10**9)
        position = match.end()
    if position != len(text) or not text:
        raise ValueError(f"not a duration: {text!r}")
    return nanoseconds / 10**9


def format_duration(seconds: float) -> str:
    """A duration in the canonical form of Compose: `1m30s`, `1h30m0.002s`, `250ms`."""
    nanoseconds = round(seconds * 10**9)
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if nanoseconds < size * 1000:
            return f"{_number(Fraction(nanoseconds, size))}{unit}"
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours}h"] if hours else []
    parts += [f"{minutes}m"] if hours or minutes else []
    return "".join([*parts, f"{_number(Fraction(rest, 10**9))}s"])


def _number(value: Fraction) -> str:
    text = f"{float(value):.9f}".rstrip("0").rstrip(".")
    return text or "0"


def shell_words(text: str) -> list[str]:
    """Split a command line by the rules of a POSIX shell, without running one."""
    return shlex.split(text)
