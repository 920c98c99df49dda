"""Typed reading of configuration mappings that notes every mistake with its place."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class ConfigError(ValueError):
    """A configuration that cannot be used; `problems` lists every mistake found, not the first."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class Reader:
    """Takes values out of one mapping; mistakes are collected in `problems`.

    A key that is absent or null gives the default, so that a generated file may write null.
    """

    def __init__(self, data: Mapping[str, object], where: str, problems: list[str]) -> None:
        self.data = data
        self.where = where
        self.problems = problems
        self.known: set[str] = set()
        self._former: set[str] = set()
        # What somebody else reads of it: told as known where a key is not.
        self.elsewhere: tuple[str, ...] = ()

    def fail(self, key: str, message: str) -> None:
        """Note a mistake at a key."""
        self.problems.append(f"{self.where}: {key}: {message}")

    def raw(self, key: str) -> object:
        """Return the value as it stands, None when absent."""
        self.known.add(key)
        return self.data.get(key)

    def text(self, key: str, default: str | None = None, required: bool = False) -> str | None:
        """Read a non-empty string."""
        value = self.raw(key)
        if value is None:
            if required:
                self.fail(key, "is required")
            return default
        if not isinstance(value, str) or not value or "\0" in value:
            self.fail(key, f"must be a non-empty string, not {value!r}")
            return default
        return value

    def number(self, key: str, default: float, minimum: float = 0.0) -> float:
        """Read a finite number of at least minimum."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(key, f"must be a number, not {value!r}")
            return default
        if not minimum <= value < 1e9:
            self.fail(key, f"must be at least {minimum:g} and below 1e9, not {value!r}")
            return default
        return float(value)

    def former(self, key: str, default: float) -> float:
        """Read a number by a name that it had once, and that is not told any more."""
        value = self.number(key, default)
        self.known.discard(key)
        self._former.add(key)
        return value

    def integer(self, key: str, default: int, minimum: int = 0) -> int:
        """Read a whole number of at least minimum."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            self.fail(key, f"must be a whole number of at least {minimum}, not {value!r}")
            return default
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Read true or false."""
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fail(key, f"must be true or false, not {value!r}")
            return default
        return value

    def choice(self, key: str, default: str, choices: Sequence[str]) -> str:
        """Read one of several words."""
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, str) or value not in choices:
            self.fail(key, f"must be one of {', '.join(choices)}, not {value!r}")
            return default
        return value

    def words(self, key: str, required: bool = False) -> list[str]:
        """Read a list of strings, such as an argument vector."""
        value = self.raw(key)
        if value is None:
            if required:
                self.fail(key, "is required")
            return []
        good = isinstance(value, (list, tuple)) and all(
            isinstance(word, str) and "\0" not in word for word in value
        )
        if not good or not value or not value[0]:  # type: ignore[index]
            self.fail(key, f"must be a list of strings like ['program', 'argument'], not {value!r}")
            return []
        return [str(word) for word in value]  # type: ignore[attr-defined]

    def strings(self, key: str) -> dict[str, str]:
        """Read a mapping of strings to strings, numbers or booleans (kept as their text)."""
        value = self.raw(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.fail(key, f"must be a mapping, not {value!r}")
            return {}
        result: dict[str, str] = {}
        for name, item in value.items():
            if not isinstance(name, str) or not name or "\0" in name:
                self.fail(key, f"has a name that is not a string: {name!r}")
            elif isinstance(item, bool):
                result[name] = "true" if item else "false"
            elif isinstance(item, (str, int, float)) and "\0" not in str(item):
                result[name] = str(item)
            else:
                self.fail(f"{key}.{name}", f"must be a string, not {item!r}")
        return result

    def finish(self) -> None:
        """Report keys that nobody read: a misspelt setting must not be dropped silently."""
        for key in self.data:
            if key not in self.known | self._former:
                known = sorted(self.known.union(self.elsewhere))
                hint = meant(str(key), known)
                self.fail(str(key), f"is not a known setting{hint} (known: {', '.join(known)})")


def meant(word: str, known: Iterable[str]) -> str:
    """Return a question after the known word that is nearest, nothing where none is near."""
    near = min(known, key=lambda other: distance(word, other), default="")
    close = near and distance(word, near) <= max(1, len(word) // 3)
    return f"; did you mean {near}?" if close else ""


def distance(first: str, second: str) -> int:
    """Return how many letters have to be put in, left out, exchanged or swapped with the next.

    As difflib would do; but a supervisor that reloads a file with a mistake shall not grow by it.
    """
    first, second = first[:64], second[:64]
    rows = [list(range(len(second) + 1))]
    for i, a in enumerate(first, 1):
        row = [i]
        for j, b in enumerate(second, 1):
            row.append(min(row[-1] + 1, rows[-1][j] + 1, rows[-1][j - 1] + (a != b)))
            if i > 1 and j > 1 and (a, first[i - 2]) == (second[j - 2], b):
                row[-1] = min(row[-1], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]
