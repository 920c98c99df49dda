"""Whether data has the shape that its reader relies on; told by the reader's own type hints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

from moorage.common.readers import Damaged, read_object

T = TypeVar("T")


def fit(value: Any, hint: Any, where: str = "") -> None:
    """Raise ValueError, saying where, unless ``value`` is as a type hint says.

    A dataclass stands for an object with its fields, of which those with a default may lack, a
    TypedDict for itself; what neither of them names may be anything.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return
    if origin in (Union, UnionType):
        _fit_one_of(value, inner, where)
    elif is_typeddict(hint) or is_dataclass(hint):
        _expect(isinstance(value, Mapping), "an object", value, where)
        for name, (needed, kind) in _fields(hint).items():
            if name in value:
                fit(value[name], kind, f"{where}.{name}" if where else name)
            else:
                _expect(not needed, f"{name} in it", value, where)
    elif origin in (list, tuple):
        wanted = f"a list of {len(inner)}" if origin is tuple and ... not in inner else "a list"
        whole = wanted == "a list" or (isinstance(value, list | tuple) and len(value) == len(inner))
        _expect(isinstance(value, list | tuple) and whole, wanted, value, where)
        for number, entry in enumerate(value):
            fit(entry, inner[0], f"{where}[{number}]")
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        _expect(isinstance(value, Mapping), "an object", value, where)
        for name, entry in value.items():
            fit(entry, inner[1], f"{where}.{name}" if where else str(name))
    else:
        _fit_plain(value, hint, where)


def make(cls: type[T], given: Mapping[str, Any]) -> T:
    """Return a dataclass of plain fields made of data; raises ValueError, saying where."""
    hint: Any = cls
    fit(given, hint)
    return cls(**{name: given[name] for name in _fields(hint) if name in given})


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


def _fit_one_of(value: Any, kinds: tuple[Any, ...], where: str) -> None:
    if value is None and type(None) in kinds:
        return
    rest = [kind for kind in kinds if kind is not type(None)]
    for kind in rest[:-1]:
        try:
            fit(value, kind, where)
        except ValueError:
            continue
        return
    fit(value, rest[-1], where)


_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def _fit_plain(value: Any, hint: Any, where: str) -> None:
    kinds = (int, float) if hint is float else hint
    true = isinstance(value, bool) and hint is not bool
    _expect(isinstance(value, kinds) and not true, _NAMES.get(hint, str(hint)), value, where)


def _expect(condition: bool, wanted: str, value: Any, where: str) -> None:
    if not condition:
        raise ValueError(f"{where}: {wanted} is wanted, it holds {value!r:.60}".lstrip(": "))
