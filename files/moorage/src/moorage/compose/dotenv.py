"""Environment files: `.env` beside the Compose file, and the files of `env_file`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from moorage.compose.interpolate import InterpolationError, Lookup, substitute

_KEY = re.compile(r"(?:export[ \t]+)?([A-Za-z0-9_.\[\]-]*)[ \t]*([=:\n]|$)")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class DotenvError(ValueError):
    """A line of an environment file that is no assignment."""


def parse_dotenv(text: str, outer: Mapping[str, str]) -> dict[str, str]:
    """Variables of an environment file.

    A value may refer to variables above it and to `outer`, which wins. A key without a value
    takes the value of `outer` and is left out when there is none. Raises DotenvError.
    """
    result: dict[str, str] = {}

    def lookup(name: str) -> str | None:
        return outer.get(name, result.get(name))

    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    position = 0
    while (position := _next_statement(text, position)) < len(text):
        match = _KEY.match(text, position)
        if match is None or not match[1]:
            line = text[position:].split("\n", 1)[0]
            raise DotenvError(f"line {_line(text, position)} is no assignment: {line!r}")
        key = match[1]
        if match[2] not in ("=", ":"):
            if key in outer:
                result[key] = outer[key]
            position = match.end()
            continue
        try:
            value, position = _value(text, match.end(), lookup)
        except InterpolationError as error:
            raise DotenvError(f"line {_line(text, match.start())}: {error}") from None
        result[key] = value
    return result


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _next_statement(text: str, position: int) -> int:
    while position < len(text):
        if text[position].isspace():
            position += 1
        elif text[position] == "#":
            end = text.find("\n", position)
            position = len(text) if end < 0 else end
        else:
            break
    return position


def _value(text: str, start: int, lookup: Lookup) -> tuple[str, int]:
    while start < len(text) and text[start] in " \t":
        start += 1
    quote = text[start : start + 1]
    if quote in ("'", '"') and quote:
        return _quoted(text, start, quote, lookup)
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    plain = _COMMENT.sub("", text[start:end]).rstrip()
    return substitute(plain, lookup), end


def _quoted(text: str, start: int, quote: str, lookup: Lookup) -> tuple[str, int]:
    index = start + 1
    while index < len(text):
        if text[index] == "\\" and index + 1 < len(text):
            index += 2
            continue
        if text[index] == quote:
            body = text[start + 1 : index]
            if quote == '"':
                body = substitute(_unescape(body), lookup)
            return body, index + 1
        index += 1
    raise DotenvError(f"line {_line(text, start)}: the quote {quote} is not closed")


def _unescape(body: str) -> str:
    def replace(match: re.Match[str]) -> str:
        sign = match[1]
        # An escaped dollar is passed on as two, so that it is not taken for a variable.
        return "$$" if sign == "$" else _ESCAPES.get(sign, sign)

    return re.sub(r"\\(.)", replace, body, flags=re.DOTALL)
