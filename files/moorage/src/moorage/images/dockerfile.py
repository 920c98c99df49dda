"""What a target of a Dockerfile uses, so that nothing else changes its name.

The analysis errs on the side of too much: what it does not understand counts as "everything".
Sources are shipped by the same answer, so a file it overlooked would be missing from the build and
fail it, never be stale in an image.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from moorage.images.errors import ImageError

# Stands for the build context among the named ones.
CONTEXT = ""

_FLAG = re.compile(r"--([a-z-]+)(?:=(\S*))?\s+")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)(?::-([^}]*))?\}|([A-Za-z_]\w*))")
_HEREDOC = re.compile(r"<<-?[\"']?\w")


@dataclass
class Uses:
    """What a target is made of: sources by context (None: all of it), and images by name."""

    sources: dict[str, set[str] | None] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    # Set where a name could not be worked out: it may be any image or context.
    anything: bool = False

    def add(self, context: str, source: str | None) -> None:
        """Count ``source`` of ``context``; None counts the whole of it."""
        known = self.sources.setdefault(context, set())
        cleaned = None if source is None else posixpath.normpath("/" + source).lstrip("/")
        if not cleaned or "$" in cleaned or "**" in cleaned:
            self.sources[context] = None
        elif known is not None:
            known.add(cleaned)


@dataclass
class _Stage:
    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)


def uses(text: str, target: str | None, arguments: Mapping[str, str]) -> Uses:
    """Work out what building ``target`` (None: the last stage) of a Dockerfile uses.

    Raises ImageError when there is no such target.
    """
    try:
        return _walk(_stages(text, arguments), target)
    except _NotUnderstoodError:
        return Uses(anything=True)


def line_of(
    text: str, names: Sequence[str], arguments: Mapping[str, str]
) -> tuple[int, str] | None:
    """Return number and text of the first line that names one of these images, if any."""
    known: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        keyword, _, rest = line.strip().partition(" ")
        if keyword.upper() == "ARG":
            name, _, default = rest.strip().partition("=")
            known[name] = arguments.get(name, default.strip("\"'"))
            continue
        for word in re.split(r"[\s,]+", _expand(rest, known)):
            word = word.rpartition("from=")[2]
            full = word if ":" in word.rpartition("/")[2] or "@" in word else f"{word}:latest"
            # Builders write the default registry out.
            if word and any(name in (word, full) or name.endswith(f"/{full}") for name in names):
                return number, line.strip()
    return None


class _NotUnderstoodError(Exception):
    pass


def _walk(stages: list[_Stage], target: str | None) -> Uses:
    found = Uses()
    names = {stage.name: index for index, stage in enumerate(stages) if stage.name}
    wanted = len(stages) - 1 if target is None else names.get(target.lower())
    if wanted is None:
        known = ", ".join(names) or "none has a name"
        raise ImageError(f"the Dockerfile has no target {target!r} (its stages: {known})")
    queue, seen = [wanted], set()
    while queue:
        index = queue.pop()
        if index in seen:
            continue
        seen.add(index)
        for name, sources in _references(stages[index]):
            earlier = names.get(name.lower())
            if earlier is not None and earlier < index:
                queue.append(earlier)
            elif name.isdigit() and int(name) < len(stages):
                queue.append(int(name))
            elif name != "scratch":
                _count(found, name, sources)
    return found


def _count(found: Uses, name: str, sources: list[str] | None) -> None:
    if "$" in name:
        found.anything = True
    if name != CONTEXT:
        found.images.add(name)
    for source in sources if sources is not None else [None]:
        found.add(name, source)


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    pending = ""
    for line in text.splitlines():
        stripped = line.strip()
        if re.match(r"#\s*escape\s*=", stripped, re.IGNORECASE):
            raise _NotUnderstoodError
        if not stripped or stripped.startswith("#"):
            continue
        if stripped.endswith("\\"):
            pending += stripped[:-1] + " "
            continue
        keyword, _, rest = (pending + stripped).partition(" ")
        pending = ""
        keyword = keyword.upper()
        # The lines of a here-document would be taken for instructions.
        if keyword == "ONBUILD" or (keyword in ("RUN", "COPY", "ADD") and _HEREDOC.search(rest)):
            raise _NotUnderstoodError
        yield keyword, rest.strip()


def _stages(text: str, arguments: Mapping[str, str]) -> list[_Stage]:
    stages: list[_Stage] = []
    known: dict[str, str] = {}
    for keyword, rest in _instructions(text):
        if keyword == "FROM":
            words = _expand(_FLAG.sub("", rest), known).split()
            name = words[2].lower() if len(words) == 3 and words[1].upper() == "AS" else ""
            if not words:
                raise _NotUnderstoodError
            stages.append(_Stage(words[0], name))
        elif stages:
            stages[-1].instructions.append((keyword, rest))
        elif keyword == "ARG":
            for word in shlex.split(rest):
                name, _, default = word.partition("=")
                known[name] = arguments.get(name, default)
    if not stages:
        raise ImageError("the Dockerfile has no FROM")
    return stages


def _expand(text: str, known: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[3]
        return known.get(name) or match[2] or match[0]

    return _VARIABLE.sub(value, text)


def _references(stage: _Stage) -> Iterator[tuple[str, list[str] | None]]:
    """Yield every image, stage or context that a stage reads, with the sources taken from it."""
    yield stage.base, None
    for keyword, rest in stage.instructions:
        if keyword in ("COPY", "ADD"):
            yield from _copied(rest)
        elif keyword == "RUN":
            yield from _mounted(rest)


def _copied(rest: str) -> Iterator[tuple[str, list[str]]]:
    flags: dict[str, str] = {}
    while match := _FLAG.match(rest):
        flags[match[1]] = match[2] or ""
        rest = rest[match.end() :]
    try:
        words = json.loads(rest) if rest.startswith("[") else rest.split()
    except ValueError:
        raise _NotUnderstoodError from None
    sources = [word for word in words[:-1] if "://" not in word and not word.startswith("git@")]
    if "parents" in flags or any("'" in word or '"' in word for word in sources):
        sources = ["/"]
    if sources:
        yield flags.get("from", CONTEXT), sources


def _mounted(rest: str) -> Iterator[tuple[str, list[str]]]:
    while match := _FLAG.match(rest):
        rest = rest[match.end() :]
        if match[1] != "mount":
            continue
        fields = dict(part.partition("=")[::2] for part in (match[2] or "").split(","))
        if fields.get("type", "bind") == "bind" or "from" in fields:
            source = fields.get("source") or fields.get("src") or "/"
            yield fields.get("from", CONTEXT), [source]
