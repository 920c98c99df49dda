"""Readers of single values; each raises `Unusable`: the value seen, what is allowed, what is near.

Numbers and booleans may be texts: that is what `-e NAME=VALUE` gives.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from ipaddress import ip_address, ip_network
from math import isfinite
from typing import Any

Reader = Callable[[Any], Any]

# What no setting that is meant exceeds, and every program that is told it can still count.
MOST = 10**9
# What the engine and nginx can count.
_MOST_BYTES = 2**63 - 1
# Of a fault whose value says nothing, or must not be shown.
NOTHING = object()

_BYTES = re.compile(r"(\d+(?:\.\d+)?|\.\d+) ?([kKmMgGtTpPbB]?)(?:[iI]?[bB])?")
_POWERS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where inside of the value, what is allowed, what was seen."""

    message: str
    value: Any = NOTHING
    advice: str = ""
    path: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message

    def below(self, place: str) -> Fault:
        """Return the fault of a value that is inside of another one."""
        dot = "." if self.path and not self.path.startswith("[") else ""
        return replace(self, path=f"{place}{dot}{self.path}")


class Unusable(ValueError):
    """A value that cannot be used, with all of its faults."""

    def __init__(self, message: str, value: Any = NOTHING, advice: str = "") -> None:
        self.faults: tuple[Fault, ...] = (Fault(message, value, advice),)
        super().__init__(message)

    @classmethod
    def of(cls, faults: Iterable[Fault]) -> Unusable:
        """Return an error with several faults."""
        found = tuple(faults)
        error = cls("; ".join(map(str, found)))
        error.faults = found
        return error


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known word that is most like another one, None when none is like it."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1, cutoff=cutoff)), None)


def meant(word: Any, known: Iterable[str]) -> str:
    """Advice for an unknown word: the nearest known one, else what there is."""
    there = sorted(known)
    if near := nearest(str(word), there):
        return f"did you mean {near!r}?"
    return "docs/settings.md has them all" if there[12:] else f"known here: {', '.join(there)}"


def parse_bytes(value: str | float) -> int:
    """Bytes of a size such as `64m`, `1.5gb` or a plain number; ValueError when it is none."""
    if isinstance(value, bool) or (isinstance(value, float) and not isfinite(value)):
        raise ValueError(f"not a size: {value!r}")
    if isinstance(value, (int, float)):
        return int(value)
    match = _BYTES.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"not a size: {value!r}")
    return int(Decimal(match[1]) * 1024 ** _POWERS[match[2].lower()])


def number(least: float = 0.0, most: float = MOST) -> Reader:
    """A number within bounds."""
    return _number(float, "number", least, most)


def whole(least: int = 0, most: int = MOST, other: str = "") -> Reader:
    """A whole number within bounds; ``other`` says what else the caller takes."""
    return _number(int, "whole number", least, most, other)


def _number(kind: type[float], what: str, least: float, most: float, other: str = "") -> Reader:
    def read(value: Any) -> float:
        try:
            found = float("nan" if isinstance(value, bool) else value)
        except (TypeError, ValueError, OverflowError):
            found = float("nan")
        if not least <= found <= most or (kind is int and not found.is_integer()):
            raise Unusable(f"must be a {what} from {least:g} to {most:.12g}{other}", value)
        return kind(found)

    return read


def size(least: int = 0) -> Reader:
    """Bytes, as a number or with a unit such as 64m."""

    def read(value: Any) -> int:
        try:
            found = parse_bytes(value)
        except ValueError:
            found = -1
        part = isinstance(value, float) and not value.is_integer()
        if part or not least <= found <= _MOST_BYTES:
            raise Unusable("must be a size such as 64m", value)
        return found

    return read


def size_text(value: Any) -> str:
    """A size that is handed on as it is written."""
    size(1)(value)
    return str(value)


def matching(pattern: str, what: str) -> Reader:
    """A text that matches as a whole."""
    compiled = re.compile(pattern)

    def read(value: Any) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise Unusable(f"must be {what}", value)
        return value

    return read


def words(*, empty: bool = False) -> Reader:
    """A text; what YAML or a command line took for a number or a date is one, too."""

    def read(value: Any) -> str:
        plain = value is not None and not isinstance(value, (bool, bytes, Mapping, list, tuple))
        if not plain or not (str(value) or empty):
            raise Unusable("must be a text" if empty else "must be a text that is not empty", value)
        return str(value)

    return read


def flag(value: Any) -> bool:
    """True or false, as Ansible reads them."""
    text = str(value).strip().lower()
    if isinstance(value, (bool, int, str)) and text in (*_YES, *_NO):
        return text in _YES
    raise Unusable("must be true or false", value)


def one_of(*choices: str) -> Reader:
    """One of some words."""

    def read(value: Any) -> str:
        if isinstance(value, bool):
            # What YAML makes of an unquoted on or off.
            value = {True: "on", False: "off"}[value] if "off" in choices else value
        if value not in choices:
            listed = ", ".join(word or '""' for word in choices)
            near = nearest(value, choices) if isinstance(value, str) else None
            raise Unusable(
                f"must be one of {listed}", value, f"did you mean {near!r}?" if near else ""
            )
        return str(value)

    return read


def network(value: Any) -> str:
    """An address or a network in CIDR notation."""
    try:
        ip_network(value if isinstance(value, str) else "", strict=False)
    except ValueError:
        raise Unusable("must be an address or a network such as 192.0.2.0/24", value) from None
    return str(value)


def address(value: Any) -> str:
    """An address."""
    try:
        ip_address(value if isinstance(value, str) else "")
    except ValueError:
        raise Unusable("must be an address such as 192.0.2.1", value) from None
    return str(value)


def list_of(read: Reader, what: str = "a list") -> Reader:
    """A list of values of one kind."""

    def read_list(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            raise Unusable(f"must be {what}", value)
        found = _each((f"[{index}]", item, read) for index, item in enumerate(value))
        return tuple(found.values())

    return read_list


def map_of(read: Reader, what: str = "a mapping", name: Reader = str) -> Reader:
    """A mapping of names to values of one kind."""

    def read_map(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Unusable(f"must be {what}", value)
        _each((str(key), key, name) for key in value)
        return _each((str(key), item, read) for key, item in value.items())

    return read_map


def record(
    readers: Mapping[str, Reader], required: Collection[str] = (), what: str = "key"
) -> Reader:
    """A mapping with known keys."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Unusable(f"must be a mapping with {', '.join(readers)}", value)
        faults = [
            Fault(f"unknown {what}", advice=meant(key, readers), path=str(key))
            for key in value
            if key not in readers
        ]
        faults += [Fault(f"lacks {key}", value) for key in required if key not in value]
        known = ((key, value[key], read) for key, read in readers.items() if key in value)
        return _each(known, faults)

    return read


def _each(
    entries: Iterable[tuple[str, Any, Reader]], faults: Iterable[Fault] = ()
) -> dict[str, Any]:
    """Read values by their places; Unusable has the faults of all of them."""
    found, wrong = {}, list(faults)
    for place, value, read in entries:
        try:
            found[place] = read(value)
        except Unusable as error:
            wrong += [fault.below(place) for fault in error.faults]
    if wrong:
        raise Unusable.of(wrong)
    return found


PORT = whole(1, 65535)
ABSOLUTE = matching(r"/[^\0]*", "an absolute path")
USER = matching(r"[0-9]+:[0-9]+", 'a numeric "uid:gid"')
SERVICE = matching(r"[a-zA-Z0-9._-]+", "the name of a service")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = matching(
    rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*", "a name such as www.example.com, in small letters"
)
# What nginx takes as it stands inside a location: no quotes, spaces, braces, variables.
ROUTE_PATH = matching(r"/[A-Za-z0-9._~!@+,:=/-]*", "a path such as /pictures/")
URL_PATH = matching(r"/[A-Za-z0-9._~!&*+,;=:@%/?-]*", "a path such as /health")
