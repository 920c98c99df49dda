"""What a setting is: a field of a dataclass, with its default, its reader and its meaning.

So the table of a kind of settings is the class whose values are read, and a default stands once.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, TypeVar

from moorage.settings.readers import Reader, record

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """One line of a table. ``shown`` is the default as the documentation has it."""

    name: str
    default: Any
    read: Reader
    meaning: str
    shown: str = ""


def setting(default: Any, read: Reader, meaning: str, *, shown: str = "") -> Any:
    """Declare a field of a table; ``meaning`` is Markdown for a cell.

    A class may have other fields too: they are worked out and no setting.
    """
    made = {"default": default}
    if isinstance(default, (dict, list)):
        made = {"default_factory": lambda: type(default)(default)}
    return field(**made, metadata={"read": read, "meaning": meaning, "shown": shown})


@cache
def settings_of(cls: Any) -> dict[str, Setting]:
    """Return all lines of a table by their names, in order."""
    return {
        entry.name: Setting(
            entry.name,
            entry.default if entry.default_factory is MISSING else entry.default_factory(),
            entry.metadata["read"],
            entry.metadata["meaning"],
            entry.metadata["shown"],
        )
        for entry in fields(cls)
        if "read" in entry.metadata
    }


def parse(cls: type[T], given: Any, what: str = "key") -> T:
    """Return a table's class made of data; raises Unusable with all that is wrong."""
    table: Any = cls
    readers = {name: entry.read for name, entry in settings_of(table).items()}
    return cls(**record(readers, what=what)(given))


def table_of(cls: type[T]) -> Reader:
    """A reader of a mapping that is a table of its own."""

    def read_table(value: Any) -> T:
        return parse(cls, value)

    return read_table
