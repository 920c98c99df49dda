"""What is wrong with a Compose file: every problem of a load in one exception."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from moorage.settings.readers import NOTHING, Fault, nearest

_SHOWN = 80


@dataclass(frozen=True)
class Problem:
    """One thing to repair: where it stands, the value seen, what is wrong, what to do."""

    where: str
    message: str
    advice: str = ""
    value: str | None = None
    file: str | None = None
    line: int | None = None

    @property
    def service(self) -> str | None:
        """Name of the service that the problem is in, if it is in one."""
        parts = self.where.split(".", 2)
        return parts[1] if parts[0] == "services" and len(parts) > 1 else None

    @property
    def key(self) -> str | None:
        """Path of the key inside its service, or inside the file when in no service."""
        if self.service is None:
            return self.where or None
        rest = self.where.split(".", 2)[2:]
        return rest[0] if rest else None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else ""
        place = place or (f"{self.file}: " if self.file else "")
        head = f"{place}{self.where}: " if self.where else place
        value = f" (value: {self.value})" if self.value is not None else ""
        advice = f"; {self.advice}" if self.advice else ""
        return f"{head}{self.message}{value}{advice}"


class ComposeError(Exception):
    """A description that cannot be used, with all of its problems."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(dict.fromkeys(problems))
        count = len(self.problems)
        title = "1 problem" if count == 1 else f"{count} problems"
        super().__init__("\n".join([f"{title}:", *(f"- {problem}" for problem in self.problems)]))


def problem_of(fault: Fault, start: str) -> Problem:
    """What is wrong with a setting; ``start`` is what its name begins with."""
    return Problem(start + fault.path, fault.message, fault.advice, shown(fault.value))


def shown(value: Any = NOTHING) -> str | None:
    """A value as it is quoted in a problem: JSON, cut to one line."""
    if value is NOTHING:
        return None
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Advice for an unknown word: its nearest known neighbour, else the known words."""
    words = sorted(known)
    near = nearest(word, words)
    if near:
        return f"did you mean {near!r}?"
    if len(words) > 12:
        return "remove it, or put it into an extension field (x-…)"
    return f"known here: {', '.join(words)}" if words else "remove it"
