"""Reading what was written for later; a power cut, a full disk or a person may have torn it.

Also a module of the survey, so Python 3.9 reads it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Far more than anything we write there; a file of another's making may be of any size.
_LIMIT_BYTES = 32 << 20
# Nothing of ours is nested a quarter as deep; what prints or compares it is recursive.
_DEEPEST = 64
_LARGEST = 1 << 63
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Damaged(OSError):
    """A file is there and does not hold what was written to it; the message says which and why."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} is damaged: {why}")


def decode(content: bytes) -> Any:
    """Return a JSON value; raises ValueError, in words, for what no writer of ours writes.

    That is also what Python's reader takes and others stumble over: numbers that are none or that
    no clock and no size has, text that nothing can print, a key twice, endless nesting.
    """
    if not content.strip():
        raise ValueError("it is empty")
    try:
        found = json.loads(content.decode(), parse_constant=_no_number, object_pairs_hook=_once)
        _refuse_odd(found, _DEEPEST)
    except UnicodeError:
        raise ValueError("it holds what is no text") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return found


def read_object(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, None when there is no such file.

    Raises Damaged for a file with anything else in it, and for one that cannot be read.
    """
    content = read_bytes(path)
    if content is None:
        return None
    try:
        found = decode(content)
    except ValueError as trouble:
        raise Damaged(path, str(trouble)) from None
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
        found = decode(read_bytes(path) or b"[]")
    except (Damaged, ValueError):
        return set()
    return {name for name in found if isinstance(name, str)} if isinstance(found, list) else set()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file that holds one a line; what is no object is passed over.

    The last line is torn where the writer was cut off. Raises Damaged for what cannot be read.
    """
    yield from objects((read_bytes(path) or b"").splitlines())


def objects(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects among lines."""
    for line in lines:
        try:
            found = decode(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def read_bytes(path: Path) -> bytes | None:
    """Return what a file holds, None where there is none.

    Raises Damaged for what is no file, is too large or cannot be read. Nobody waits for what
    comes out of a pipe.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                raise Damaged(path, f"it is {_KINDS.get(stat.S_IFMT(mode), 'no file')}")
            with os.fdopen(fd, "rb", closefd=False) as source:
                content = source.read(_LIMIT_BYTES + 1)
        finally:
            os.close(fd)
    except FileNotFoundError:
        if path.is_symlink():
            raise Damaged(path, f"it leads to {os.readlink(path)}, which is not there") from None
        return None
    except Damaged:
        raise
    except OSError as trouble:
        raise Damaged(path, trouble.strerror or str(trouble)) from None
    if len(content) > _LIMIT_BYTES:
        raise Damaged(path, f"it is larger than {_LIMIT_BYTES >> 20} MiB")
    return content


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it has a key twice")
    return found


def _refuse_odd(value: Any, depth: int) -> None:
    """Raise ValueError for a value that some use of it would fail at."""
    if not depth:
        raise ValueError("it is nested too deeply")
    if isinstance(value, str):
        # A half of a character of two, which no output takes.
        value.encode()
    elif isinstance(value, dict):
        for key, entry in value.items():
            _refuse_odd(key, depth)
            _refuse_odd(entry, depth - 1)
    elif isinstance(value, list):
        for entry in value:
            _refuse_odd(entry, depth - 1)
    elif isinstance(value, (int, float)) and not -_LARGEST < value < _LARGEST:
        raise ValueError("it holds a number beyond reason")
