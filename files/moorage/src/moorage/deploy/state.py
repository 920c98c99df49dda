"""Reading what was written for later; a power cut, a full disk or a person may have torn it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Far more than anything we write there; a file of another's making may be of any size.
_LIMIT_BYTES = 32 << 20


class Damaged(Exception):
    """A file is there and does not hold what was written to it; the message says which and why."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(f"{path} is damaged: {why}")


def read_object(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, None when there is no such file.

    Raises Damaged for a file with anything else in it, and for one that cannot be read.
    """
    text = _read(path)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as trouble:
        raise Damaged(path, str(trouble) if text.strip() else "it is empty") from None
    if not isinstance(found, dict):
        raise Damaged(path, f"an object is wanted, it holds a {type(found).__name__}")
    return found


def read_note(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file that only informs; ``{}`` when it cannot."""
    try:
        return read_object(path) or {}
    except Damaged:
        return {}


def read_names(path: Path) -> set[str]:
    """Return the names in a file that holds a JSON list; none when it cannot be read."""
    try:
        found = json.loads(_read(path) or "[]")
    except (Damaged, ValueError, RecursionError):
        return set()
    return {name for name in found if isinstance(name, str)} if isinstance(found, list) else set()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file that holds one a line; what is no object is passed over.

    The last line is torn where the writer was cut off. Raises Damaged for what cannot be read.
    """
    for line in (_read(path) or "").splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield found


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as source:
            content = source.read(_LIMIT_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as trouble:
        raise Damaged(path, trouble.strerror or str(trouble)) from None
    if len(content) > _LIMIT_BYTES:
        raise Damaged(path, f"it is larger than {_LIMIT_BYTES >> 20} MiB")
    return content.decode("utf-8", "replace")
