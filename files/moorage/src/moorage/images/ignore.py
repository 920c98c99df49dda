"""Which files of a build context are left out: the rules of .dockerignore.

Follows the format that Docker's manual documents ("Build context", .dockerignore files): Go's
filepath.Match plus ``**``, the last matching line wins, a match of a directory covers all
below it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from moorage.images.errors import ImageError

# What tools leave behind on a controller. It never belongs into an image, and must not change its
# name either; no line of a .dockerignore brings it back.
LEFTOVERS = (
    "**/.git",
    "**/__pycache__",
    "**/*.pyc",
    "**/*.egg-info",
    "**/.mypy_cache",
    "**/.pytest_cache",
    "**/.ruff_cache",
)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return the expression that matches exactly the paths ``pattern`` names.

    Raises ImageError for a pattern that is malformed.
    """
    parts = []
    i = 0
    while i < len(pattern):
        char = pattern[i]
        i += 1
        if char == "*" and pattern[i : i + 1] == "*":
            i += 1
            if pattern[i : i + 1] == "/":
                i += 1
            parts.append("(?:.*/)?" if i < len(pattern) else ".*")
        elif char == "*":
            parts.append("[^/]*")
        elif char == "?":
            parts.append("[^/]")
        elif char == "\\" and i < len(pattern):
            parts.append(re.escape(pattern[i]))
            i += 1
        elif char in "[]":
            parts.append(char)
        else:
            parts.append(re.escape(char) if char not in "^-" else char)
    try:
        return re.compile("^" + "".join(parts) + "$", re.DOTALL)
    except re.error as error:
        raise ImageError(f"pattern {pattern!r} is malformed: {error}") from error


def ancestors(path: str) -> list[str]:
    """Return ``path`` and the directories above it, nearest first."""
    found = [path]
    while "/" in path:
        path = path.rpartition("/")[0]
        found.append(path)
    return found


class IgnoreRules:
    """The lines of one .dockerignore file."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._rules: list[tuple[bool, re.Pattern[str]]] = []
        self._leftovers = [compile_pattern(pattern) for pattern in LEFTOVERS]
        for line in lines:
            self._add(line)

    @classmethod
    def parse(cls, text: str) -> IgnoreRules:
        """Read the text of a .dockerignore file."""
        return cls(text.removeprefix("\ufeff").splitlines())

    def _add(self, line: str) -> None:
        # A comment starts in the first column; elsewhere "#" belongs to a name.
        pattern = "" if line.startswith("#") else line.strip()
        if not pattern:
            return
        excluded = not pattern.startswith("!")
        pattern = pattern.removeprefix("!").strip()
        if not pattern:
            raise ImageError('a line of .dockerignore is "!" alone: name what it brings back')
        cleaned = posixpath.normpath(pattern).lstrip("/")
        if cleaned and cleaned != ".":
            self._rules.append((excluded, compile_pattern(cleaned)))

    def excludes(self, path: str) -> bool:
        """Tell whether the file at ``path``, relative to the context, is left out."""
        candidates = ancestors(path)
        if any(rule.match(name) for rule in self._leftovers for name in candidates):
            return True
        for excluded, rule in reversed(self._rules):
            if any(rule.match(name) for name in candidates):
                return excluded
        return False
