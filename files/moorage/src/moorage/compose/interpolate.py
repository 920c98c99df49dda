"""Variables in values: `$VAR`, `${VAR}` and its operators, `$$`.

Rules: Compose Specification, chapter "Interpolation". What does not form a variable stays as
it is, as in `docker compose`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")

Lookup = Callable[[str], str | None]


class InterpolationError(ValueError):
    """A value whose variables cannot be filled in."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


def substitute(text: str, lookup: Lookup, unset: Callable[[str], None] = lambda _: None) -> str:
    """Fill in the variables of a text; `unset` is told of those without value and default."""

    def empty(name: str) -> str:
        value = lookup(name)
        if value is None:
            unset(name)
        return value or ""

    parts: list[str] = []
    position = 0
    while (dollar := text.find("$", position)) >= 0:
        parts.append(text[position:dollar])
        following = text[dollar + 1 : dollar + 2]
        if following == "$":
            parts.append("$")
            position = dollar + 2
        elif following == "{":
            end = _closing(text, dollar)
            parts.append(_braced(text[dollar + 2 : end], lookup, unset))
            position = end + 1
        elif match := _NAME.match(text, dollar + 1):
            parts.append(empty(match[0]))
            position = match.end()
        else:
            parts.append("$")
            position = dollar + 1
    return "".join([*parts, text[position:]])


def _closing(text: str, start: int) -> int:
    """Index of the brace that closes the `${` at `start`, counting nested ones."""
    depth, index = 0, start
    while index < len(text):
        if text.startswith("${", index):
            depth, index = depth + 1, index + 2
            continue
        if text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
        index += 1
    raise InterpolationError(
        f"the variable {text[start:]!r} has no closing brace",
        "close it with }, or write $$ for a dollar sign",
    )


def _braced(body: str, lookup: Lookup, unset: Callable[[str], None]) -> str:
    match = _NAME.match(body)
    rest = body[match.end() :] if match else body
    operator = next((sign for sign in _OPERATORS if rest.startswith(sign)), None)
    if match is None or (rest and operator is None):
        raise InterpolationError(
            f"'${{{body}}}' is no variable",
            "write ${NAME}, ${NAME:-default}, ${NAME:?message} or ${NAME:+value}; $$ for a dollar",
        )
    if operator is None:
        return substitute(f"${match[0]}", lookup, unset)
    value = lookup(match[0])
    given = bool(value) if operator.startswith(":") else value is not None
    argument = rest[len(operator) :]
    if operator.endswith("+"):
        return substitute(argument, lookup, unset) if given else ""
    if given:
        return value or ""
    if operator.endswith("-"):
        return substitute(argument, lookup, unset)
    message = substitute(argument, lookup)
    why = f": {message}" if message else ""
    raise InterpolationError(f"the variable {match[0]} is required{why}", f"set {match[0]}")
