"""Whether data has the shape that its reader relies on; told by the reader's own type hints."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

from moorage.common.readers import Damaged, read_object

T = TypeVar("T")


def fit(value: Any, hint: Any, where: str = "", *, strict: bool = False) -> Any:
    """Return data as its type hint says; raises ValueError, saying where, unless it fits.

    A dataclass is made of an object with its fields, of which those with a default may lack; a
    TypedDict stands for itself, a tuple is made of a list. What neither of the first two names is
    passed over, or, when ``strict``, wrong in a dataclass.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _fit_one_of(value, inner, where, strict)
    if is_typeddict(hint) or is_dataclass(hint):
        return _fit_object(value, hint, where, strict)
    if origin in (list, tuple):
        wanted = f"a list of {len(inner)}" if origin is tuple and ... not in inner else "a list"
        whole = wanted == "a list" or (isinstance(value, list | tuple) and len(value) == len(inner))
        _expect(isinstance(value, list | tuple) and whole, wanted, value, where)
        return origin(
            fit(entry, inner[0], f"{where}[{number}]", strict=strict)
            for number, entry in enumerate(value)
        )
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _expect(isinstance(value, Mapping), "an object", value, where)
        return {
            name: fit(entry, inner[1], f"{where}.{name}" if where else str(name), strict=strict)
            for name, entry in value.items()
        }
    _fit_plain(value, hint, where)
    return value


def make(cls: type[T], given: Mapping[str, Any], *, strict: bool = False) -> T:
    """Return a dataclass made of data; raises ValueError, saying where."""
    made: T = fit(given, cls, strict=strict)
    return made


def read_shaped(path: Path, hint: Any) -> dict[str, Any] | None:
    """Return the object in a file, None when there is none; raises Damaged unless it fits."""
    found = read_object(path)
    if found is not None:
        try:
            fit(found, hint)
        except ValueError as trouble:
            raise Damaged(path, str(trouble)) from None
    return found


@cache
def _fields(hint: Any) -> dict[str, tuple[bool, Any]]:
    """Return whether each field has to be there, and its own hint."""
    hints = get_type_hints(hint)
    if is_typeddict(hint):
        return {name: (name in hint.__required_keys__, kind) for name, kind in hints.items()}
    return {
        entry.name: (
            entry.default is MISSING and entry.default_factory is MISSING,
            hints[entry.name],
        )
        for entry in fields(hint)
    }


def _fit_object(value: Any, hint: Any, where: str, strict: bool) -> Any:
    _expect(isinstance(value, Mapping), "an object", value, where)
    known = _fields(hint)
    for name in value if strict and is_dataclass(hint) else ():
        if name not in known:
            near = get_close_matches(str(name), known, n=1) or [", ".join(known)]
            place = f"{where}.{name}" if where else str(name)
            raise ValueError(f"{place}: there is no such key; the nearest known is {near[0]}")
    found = {}
    for name, (needed, kind) in known.items():
        if name in value:
            place = f"{where}.{name}" if where else name
            found[name] = fit(value[name], kind, place, strict=strict)
        else:
            _expect(not needed, f"{name} in it", value, where)
    return hint(**found) if is_dataclass(hint) and isinstance(hint, type) else value


def _fit_one_of(value: Any, kinds: tuple[Any, ...], where: str, strict: bool) -> Any:
    if value is None and type(None) in kinds:
        return None
    rest = [kind for kind in kinds if kind is not type(None)]
    for kind in rest[:-1]:
        with suppress(ValueError):
            return fit(value, kind, where, strict=strict)
    return fit(value, rest[-1], where, strict=strict)


_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def _fit_plain(value: Any, hint: Any, where: str) -> None:
    if get_origin(hint) is Literal:
        _expect(value in get_args(hint), f"one of {', '.join(get_args(hint))}", value, where)
        return
    kinds = (int, float) if hint is float else hint
    true = isinstance(value, bool) and hint is not bool
    _expect(isinstance(value, kinds) and not true, _NAMES.get(hint, str(hint)), value, where)


def _expect(condition: bool, wanted: str, value: Any, where: str) -> None:
    if not condition:
        raise ValueError(f"{where}: {wanted} is wanted, it holds {value!r:.60}".lstrip(": "))
