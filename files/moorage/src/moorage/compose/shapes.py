"""Shapes of values: each checks a value of a Compose file and returns its canonical form.

A shape is a function of a value and the place it stands at. What it cannot accept it reports at
that place and returns INVALID, which the shapes around it leave out; so one pass over a file
finds all of its problems.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from moorage.compose import specification
from moorage.compose.errors import did_you_mean, shown
from moorage.compose.source import Sheet
from moorage.compose.units import format_duration, parse_duration
from moorage.settings.readers import parse_bytes

_TRUE = ("true", "yes", "y", "on")
_FALSE = ("false", "no", "n", "off")
EXTENSION_PREFIX = "x-"
UNKNOWN = "unknown key"
_NEWER = "it is newer than the Compose of the hosts (2.26): remove it"


class _Invalid:
    """The only value of its class marks what was reported and is to be left out."""


INVALID = _Invalid()


@dataclass(frozen=True)
class Place:
    """Where a value stands: its file, its path in it, and the directory of relative paths."""

    sheet: Sheet
    base: Path
    path: tuple[str | int, ...] = ()

    def at(self, key: str | int) -> Place:
        """The place of a value inside this one."""
        return Place(self.sheet, self.base, (*self.path, key))

    def wrong(self, message: str, value: Any, advice: str = "") -> _Invalid:
        """Report a value that cannot be used."""
        self.sheet.report(self.path, message, advice=advice, value=shown(value))
        return INVALID


Shape = Callable[[Any, Place], Any]


def text(value: Any, place: Place) -> Any:
    """A text; numbers and booleans must be quoted, as Compose demands."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return place.wrong("must be a text", value, "put it into quotes")
    return place.wrong("must be a text", value, "write one value, in quotes")


def scalar_text(value: Any, place: Place) -> Any:
    """A text or a number, as a text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number_text(value)
    return text(value, place)


def number_text(value: float) -> str:
    """A number as Compose writes it: 1.50 is 1.5, 1e3 is 1000."""
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return {"inf": "+Inf", "-inf": "-Inf"}.get(str(value), "NaN")
    if value and not 1e-4 <= abs(value) < 1e21:
        return repr(value)
    plain = format(Decimal(repr(value)), "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def boolean(value: Any, place: Place) -> Any:
    """true or false; texts that an interpolated variable may give are accepted."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    return place.wrong("cannot be used", value, "write true or false")


def integer(value: Any, place: Place) -> Any:
    """A whole number, also as a text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d{1,20}", value):
        return int(value)
    return place.wrong("must be a whole number", value, "write it in digits")


def whole(least: int, most: int | None = None) -> Shape:
    """A whole number that is not below one, nor above another."""
    what = f"from {least} to {most}" if most is not None else f"of at least {least}"

    def check(value: Any, place: Place) -> Any:
        found = integer(value, place)
        if found is not INVALID and not least <= found <= (found if most is None else most):
            return place.wrong(f"must be a whole number {what}", value, f"write one {what}")
        return found

    return check


def number(value: Any, place: Place) -> Any:
    """A number, also as a text."""
    found = value
    with suppress(ValueError):
        found = float(value) if isinstance(value, str) else value
    if isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found):
        return found
    return place.wrong("must be a number", value, "write it in digits")


def amount(value: Any, place: Place) -> Any:
    """A number that is not below 0, also as a text."""
    found = number(value, place)
    if found is not INVALID and found < 0:
        return place.wrong("must not be below 0", value, "write 0 or more")
    return found


def duration(value: Any, place: Place) -> Any:
    """A duration in its canonical form."""
    advice = "write a number with a unit, such as 90s or 1m30s"
    if not isinstance(value, str):
        return place.wrong("must be a duration", value, advice)
    try:
        return format_duration(parse_duration(value))
    except ValueError:
        return place.wrong("must be a duration", value, advice)


def size(value: Any, place: Place) -> Any:
    """A size in bytes, as a text of digits."""
    advice = "write a number with a unit, such as 64m or 1.5g"
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return place.wrong("must be a size", value, advice)
    if str(value) == "-1":
        return "-1"  # unlimited, for memswap_limit
    try:
        # A number of 5,000 digits is none either.
        found = str(parse_bytes(value))
    except ValueError:
        found = "-"
    return place.wrong("must be a size", value, advice) if found.startswith("-") else found


def anything(value: Any, place: Place) -> Any:
    """Any value, as it is."""
    return value


def choice(*words: str) -> Shape:
    """One of some words."""

    def check(value: Any, place: Place) -> Any:
        if value in words:
            return value
        advice = f"use one of {', '.join(words)}"
        return place.wrong("is not one of the allowed values", value, advice)

    return check


def matching(pattern: str, what: str) -> Shape:
    """A text that matches a pattern as a whole; `what` says in words what it must be."""
    compiled = re.compile(pattern)

    def check(value: Any, place: Place) -> Any:
        if not isinstance(value, str):
            return text(value, place)
        if not compiled.fullmatch(value):
            return place.wrong("cannot be used", value, f"write {what}")
        return value

    return check


def listed(item: Shape, *, unique: bool = False, once: bool = False) -> Shape:
    """A list of values of one shape; `unique` refuses repetitions, `once` leaves them out."""

    def check(value: Any, place: Place) -> Any:
        if not isinstance(value, list):
            return place.wrong("must be a list", value, "write [first, second], or - on each line")
        result = []
        for index, entry in enumerate(value):
            canonical = item(entry, place.at(index))
            if canonical is INVALID:
                continue
            if once and canonical in result:
                continue
            if unique and canonical in result:
                place.at(index).wrong("is given twice", entry, "keep one of them")
                continue
            result.append(canonical)
        return result

    return check


def one_or_more(item: Shape, *, once: bool = False) -> Shape:
    """A single value or a list of them, as a list."""
    many = listed(item, once=once)

    def check(value: Any, place: Place) -> Any:
        if isinstance(value, str):
            return many([value], place)
        return many(value, place)

    return check


def mapped(item: Shape, key: str = r".+", what: str = "a name") -> Shape:
    """A mapping whose values have one shape and whose keys match a pattern."""
    pattern = re.compile(key)

    def check(value: Any, place: Place) -> Any:
        if not isinstance(value, dict):
            return place.wrong("must be a mapping", value, "write KEY: VALUE on each line")
        result = {}
        for name, entry in value.items():
            here = place.at(name)
            if not pattern.fullmatch(name):
                here.wrong(f"is not {what}", name, "use letters, digits, dot, dash, underscore")
                continue
            canonical = item(entry, here)
            if canonical is not INVALID:
                result[name] = canonical
        return result

    return check


def nullable(shape: Shape, default: Any = None) -> Shape:
    """A value that may be left empty."""

    def check(value: Any, place: Place) -> Any:
        return default if value is None else shape(value, place)

    return check


def record(
    keys: Mapping[str, Shape], required: Collection[str] = (), *, extensions: bool = True
) -> Shape:
    """A mapping with known keys; `x-` keys pass when `extensions`."""

    def check(value: Any, place: Place) -> Any:
        if not isinstance(value, dict):
            return place.wrong("must be a mapping", value, "write KEY: VALUE on each line")
        result = {}
        for name, entry in value.items():
            if name not in keys:
                if not (extensions and name.startswith(EXTENSION_PREFIX)):
                    newer = specification.has((*place.path, name))
                    advice = _NEWER if newer else did_you_mean(name, keys)
                    place.at(name).wrong(UNKNOWN, entry, advice)
                continue
            canonical = keys[name](entry, place.at(name))
            if canonical is not INVALID:
                result[name] = canonical
        for name in required:
            if name not in value:
                place.wrong(f"the key {name!r} is missing", value, f"add {name}")
        return result

    return check


def pairs(empty: str | None) -> Shape:
    """A mapping, or a list of KEY=VALUE, as a mapping; `empty` stands for a missing value."""

    def entry(value: Any, place: Place) -> Any:
        if value is None:
            return empty
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (str, int, float)):
            return scalar_text(value, place)
        return place.wrong("is not one value", value, "write a text, a number, true or false")

    as_mapping = mapped(entry)

    def check(value: Any, place: Place) -> Any:
        if not isinstance(value, list):
            return as_mapping(value, place)
        result: dict[str, str | None] = {}
        for index, item in enumerate(value):
            if not isinstance(item, str):
                place.at(index).wrong("is no variable", item, "write KEY=VALUE")
                continue
            name, sign, rest = item.partition("=")
            result[name] = rest if sign else empty
        return result

    return check
