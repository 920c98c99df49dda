"""Readers of single values of an operator's settings; each raises ValueError saying what it wants.

Numbers may be texts: that is what `-e NAME=VALUE` gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from math import isfinite
from typing import Any

from moorage.compose.errors import did_you_mean

Reader = Callable[[Any], Any]

_PATH = re.compile(r"/[A-Za-z0-9._~!&*+,;=:@%/?-]*")


# What no setting that is meant exceeds, and every program that is told it can still count.
MOST = 10**9


def number(least: float = 0.0, most: float = MOST) -> Reader:
    """A number within bounds."""
    span = f"from {least:g} to {most:.12g}"

    def read(value: Any) -> float:
        try:
            found = float("nan" if isinstance(value, bool) else value)
        except (TypeError, ValueError, OverflowError):
            found = float("nan")
        if not isfinite(found) or not least <= found <= most:
            raise ValueError(f"must be a number {span}")
        return found

    return read


def whole(least: int = 0, most: int = MOST) -> Reader:
    """A whole number within bounds."""
    read_number = number(least, most)

    def read(value: Any) -> int:
        try:
            found: float = read_number(value)
        except ValueError as error:
            raise ValueError(str(error).replace("a number", "a whole number")) from None
        if not found.is_integer():
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(found)

    return read


def matching(pattern: str, what: str) -> Reader:
    """A text that matches as a whole."""
    compiled = re.compile(pattern)

    def read(value: Any) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise ValueError(f"must be {what}")
        return value

    return read


def one_of(*words: str) -> Reader:
    """One of some words."""

    def read(value: Any) -> str:
        if value not in words:
            shown = ", ".join(word or '""' for word in words)
            raise ValueError(f"must be one of {shown}")
        return str(value)

    return read


def list_of(read: Reader) -> Reader:
    """A list of values of one kind."""

    def read_list(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            raise ValueError("must be a list")
        found = []
        for index, item in enumerate(value):
            try:
                found.append(read(item))
            except ValueError as error:
                raise ValueError(f"[{index}]: {error}") from None
        return tuple(found)

    return read_list


def record(readers: Mapping[str, Reader], required: Collection[str] = ()) -> Reader:
    """A mapping with known keys."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError(f"must be a mapping with {', '.join(readers)}")
        found = {}
        for key, item in value.items():
            if key not in readers:
                raise ValueError(f"unknown key {key!r}; {did_you_mean(str(key), readers)}")
            try:
                found[key] = readers[key](item)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        lacking = [key for key in required if key not in found]
        if lacking:
            raise ValueError(f"lacks {', '.join(lacking)}")
        return found

    return read


def url_path(value: Any) -> str:
    """A path of a URL, with a query or without."""
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise ValueError("must be a path such as /health")
    return value
