"""YAML as Compose reads it: YAML 1.2 scalars, merge keys, variables, and the line of each value.

PyYAML's own constructors follow YAML 1.1, where `yes` is true and `22:22` is 1342; here a plain
scalar gets its type by the rules of the parser behind Compose (go-yaml v3).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from moorage.compose.errors import Problem
from moorage.compose.interpolate import InterpolationError, substitute

# Aliases can multiply a small file into a huge one; no Compose file comes near these.
_MAX_NODES = 200_000
_MAX_DEPTH = 100
# No number of so many digits is meant as one; the parser behind Compose takes it for a text, too.
_MAX_DIGITS = 300
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]*)")
_TIME = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[Tt ](\d{1,2}):(\d\d):(\d\d)(Z?))?")
_SPECIAL: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_STANDARD = "tag:yaml.org,2002:"
_RESET, _OVERRIDE = "!reset", "!override"
_KNOWN_TAGS = ("!", "!plain", _RESET, _OVERRIDE)
# Values below these keys may be secret, and problems end up in logs.
_PRIVATE = frozenset(("environment", "args", "content"))
_MERGE = f"{_STANDARD}merge"

Lines = dict[tuple[str | int, ...], int]


@dataclass
class Sheet:
    """One file while it is read: its data, where each value stands, and what is wrong."""

    file: Path
    data: Any = None
    lines: Lines = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    # Variables that nobody gives: they are empty where they stand.
    unset: set[str] = field(default_factory=set)
    # Where a value takes the place of what an earlier file has there, or takes it away: `!override`
    # and `!reset`.
    replaced: list[tuple[str | int, ...]] = field(default_factory=list)

    def line(self, path: tuple[str | int, ...]) -> int | None:
        """Line of a value, or of the nearest one around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def report(self, path: tuple[str | int, ...], message: str, **more: str | None) -> None:
        """Record a problem at a path of this file."""
        where = dotted(path)
        advice, value = more.get("advice") or "", more.get("value")
        if not _PRIVATE.isdisjoint(path):
            value = None
        problem = Problem(where, message, advice, value, self.file.name, self.line(path))
        self.problems.append(problem)


def dotted(path: tuple[str | int, ...]) -> str:
    """A path as people write it: services.web.ports[0]."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def plain_scalar(text: str) -> Any:
    """The value of an unquoted scalar."""
    if text in _SPECIAL:
        return _SPECIAL[text]
    if not text[0].isdigit() and text[0] not in "+-.":
        return text
    digits = text.replace("_", "")
    if len(digits) > _MAX_DIGITS:
        return text
    if match := _INTEGER.fullmatch(digits):
        return _integer(match)
    if _FLOAT.fullmatch(digits):
        return float(digits)
    match = _TIME.fullmatch(text)
    # Only with a T is there a zone, and then there must be one.
    if match and (match[4] is None or (" " in text) != bool(match[7])):
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
        return f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC"
    return text


def _integer(match: re.Match[str]) -> int:
    sign = -1 if match[1] == "-" else 1
    body = match[2].lower()
    if body.startswith("0") and len(body) > 1 and body[1].isdigit():
        return sign * int(body, 8)
    return sign * int(body, 0)


def _extra(path: tuple[str | int, ...]) -> bool:
    """Whether a path lies in an extension field, where anything goes."""
    return any(isinstance(part, str) and part.startswith("x-") for part in path)


class _Reader:
    """Turns the node tree into plain data, with lines and variables."""

    def __init__(self, sheet: Sheet, lookup: Callable[[str], str | None] | None) -> None:
        self.sheet = sheet
        self.lookup = lookup
        self.nodes = 0
        self.open: list[yaml.Node] = []

    def value(self, node: yaml.Node, path: tuple[str | int, ...]) -> Any:
        self.sheet.lines.setdefault(path, node.start_mark.line + 1)
        self.nodes += 1
        if self.nodes > _MAX_NODES or any(node is other for other in self.open):
            self.sheet.report(path, "too many or circular aliases", advice="write the values out")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        if node.tag.startswith("!") and node.tag not in _KNOWN_TAGS and not _extra(path):
            self.sheet.report(path, f"the YAML tag {node.tag} is not supported", advice="remove it")
        self.open.append(node)
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
            return self.mapping(node, path) if isinstance(node, yaml.MappingNode) else None
        finally:
            self.open.pop()

    def scalar(self, node: yaml.ScalarNode, path: tuple[str | int, ...]) -> Any:
        value: Any = node.value
        if node.style is None and node.tag == "!plain":
            value = plain_scalar(node.value)
        elif node.tag == _OVERRIDE:
            value = plain_scalar(node.value) if node.style is None else node.value
        elif node.tag.startswith("!") and node.tag not in ("!", "!plain") and not _extra(path):
            self.sheet.report(path, f"the YAML tag {node.tag} is not supported", advice="remove it")
        elif node.tag in (f"{_STANDARD}int", f"{_STANDARD}float", f"{_STANDARD}bool"):
            value = plain_scalar(node.value)
        odd = re.search("[\0\ud800-\udfff]", node.value)
        if odd:
            what = "a NUL character" if odd[0] == "\0" else "half a character"
            self.sheet.report(path, f"has {what}", advice="remove it: nothing can hold it")
            return ""
        if isinstance(value, str) and self.lookup is not None:
            try:
                return substitute(value, self.lookup, self.sheet.unset.add)
            except InterpolationError as error:
                self.sheet.report(path, str(error), advice=error.advice)
        return value

    def mapping(self, node: yaml.MappingNode, path: tuple[str | int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merges: list[yaml.Node] = []
        for key_node, value_node in node.value:
            plain = isinstance(key_node, yaml.ScalarNode) and key_node.tag == "!plain"
            if key_node.tag == _MERGE or (plain and key_node.value == "<<"):
                merges.append(value_node)
                continue
            key = self.key(key_node, path)
            if key is None:
                continue
            if key in result:
                self.sheet.report((*path, key), "this key is given twice", advice="keep one")
            here = (*path, key)
            self.sheet.lines.setdefault(here, key_node.start_mark.line + 1)
            if value_node.tag in (_RESET, _OVERRIDE):
                self.sheet.replaced.append(here)
            if value_node.tag != _RESET:
                result[key] = self.value(value_node, here)
        for merge in merges:
            for key, value in self.merged(merge, path).items():
                result.setdefault(key, value)
        return result

    def key(self, node: yaml.Node, path: tuple[str | int, ...]) -> str | None:
        key = node.value if isinstance(node, yaml.ScalarNode) else None
        if key is not None and node.tag == "!plain":
            key = plain_scalar(key)
        if isinstance(key, str):
            return key
        self.sheet.lines.setdefault(path, node.start_mark.line + 1)
        self.sheet.report(path, "a key is not a text", advice="quote it", value=str(node.value))
        return None

    def merged(self, node: yaml.Node, path: tuple[str | int, ...]) -> dict[str, Any]:
        if isinstance(node, yaml.SequenceNode):
            result: dict[str, Any] = {}
            for item in node.value:
                result = {**self.merged(item, path), **result}
            return result
        if isinstance(node, yaml.MappingNode):
            value = self.value(node, path)
            return value if isinstance(value, dict) else {}
        self.sheet.report(path, "<< merges mappings only", advice="give it an alias of a mapping")
        return {}


class _Loader(yaml.SafeLoader):
    """Composes nodes without guessing types: a plain scalar keeps the tag `!plain`."""

    depth = 0

    def scan_to_next_token(self) -> None:
        # Tabs separate tokens wherever they do not indent (YAML 1.2, 6.1 and 6.2).
        super().scan_to_next_token()
        while self.peek() == "\t" and (self.flow_level or not self.allow_simple_key):
            self.forward()
            super().scan_to_next_token()

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=mark)
        # An anchor may be given anew (YAML 1.2, 7.1); PyYAML lets none.
        anchor = getattr(self.peek_event(), "anchor", None)  # type: ignore[no-untyped-call]
        if not self.check_event(yaml.AliasEvent):
            self.anchors.pop(anchor, None)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return "!plain"
        return super().resolve(kind, value, (False, True))  # type: ignore[no-untyped-call, no-any-return]


def read_sheet(file: Path, lookup: Callable[[str], str | None] | None) -> Sheet:
    """Read a YAML file; variables are looked up with `lookup` (None: left as they are)."""
    sheet = Sheet(file)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        sheet.report((), f"cannot be read: {reason}", advice="check the path")
        return sheet
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        sheet.lines[()] = mark.line + 1 if mark else 1
        if error.problem == "but found another document":
            advice = "make a file of each, and name them by COMPOSE_FILE in .env"
            sheet.report((), "holds several documents", advice=advice)
        else:
            sheet.report((), f"not YAML: {error.problem}", advice="check indentation and quotes")
        return sheet
    except yaml.YAMLError as error:
        said = str(error).partition("\n")[0]
        sheet.report((), f"not YAML: {said}", advice="check for control characters")
        return sheet
    if node is not None:
        sheet.data = _Reader(sheet, lookup).value(node, ())
    return sheet
