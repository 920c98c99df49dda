"""The shape of `command` and `entrypoint`."""

from __future__ import annotations

import re
from typing import Any

from moorage.compose.shapes import Place, listed, text
from moorage.compose.units import shell_words

_SHELL_OPERATORS = re.compile(r"[;&|<>]")
_QUOTED = re.compile(r"\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)


def command(value: Any, place: Place) -> Any:
    """A command line: a list of words, or a text split by the rules of a shell."""
    if value is None:
        return None
    if isinstance(value, list):
        return listed(text)(value, place)
    if not isinstance(value, str):
        return place.wrong("is no command", value, "write a text or a list of texts")
    try:
        words = shell_words(value)
    except ValueError:
        return place.wrong("has a quote that is not closed", value, "close it or escape it")
    if _operator(value):
        advice = 'write ["sh", "-c", "…"]: no shell runs it, and Compose drops what follows'
        return place.wrong("has a shell operator outside quotes", value, advice)
    return words


def _operator(value: str) -> bool:
    """Whether `;`, `&`, `|`, `<` or `>` stands outside quotes."""
    return bool(_SHELL_OPERATORS.search(_QUOTED.sub("", value)))
