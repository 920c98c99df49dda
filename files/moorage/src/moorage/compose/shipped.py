"""What of a stack's own directory its services mount: read with the description, to be shipped."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Of all that one mount ships: it goes through the connection to every host, in one message.
MAX_FILES, MAX_BYTES = 1000, 4 << 20
_LEFT_OUT = {".git", "__pycache__", ".gitkeep", ".DS_Store"}
_COPY = "put a copy of what it leads to in its place, or remove it"
_INSTEAD = "put it into an image, or on the host by an absolute path"


class NotShipped(ValueError):
    """What is mounted cannot be shipped; ``advice`` says what can be done."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


def read_tree(source: Path, top: Path) -> dict[str, dict[str, Any]]:
    """Return the files of a source by their path in it; that of a file is "".

    Each has its ``content``, whether that is ``base64`` and whether it is ``executable``. What is
    not there, or holds no file, is nothing. Raises NotShipped and OSError.
    """
    if not source.exists() and not source.is_symlink():
        return {}
    found: dict[str, dict[str, Any]] = {}
    size = 0
    for path, name in _files(source):
        if not path.resolve().is_relative_to(top.resolve()):
            raise NotShipped(
                f"{name or 'it'} is a link that leads out of the stack's directory", _COPY
            )
        if not path.is_file():
            message = f"{name or 'it'} is a link to a directory, or nothing that can be copied"
            raise NotShipped(message, _COPY)
        if not (name or source.name).isprintable():
            raise NotShipped(
                f"{name or source.name!r} is no name that all machines can hold", "rename it"
            )
        size += path.stat().st_size
        if size > MAX_BYTES or len(found) == MAX_FILES:
            message = f"holds more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB"
            raise NotShipped(message, _INSTEAD)
        found[name] = _content(path)
    return found


def _files(source: Path) -> Iterator[tuple[Path, str]]:
    if not source.is_dir() or source.is_symlink():
        yield source, ""
        return
    for where, below, names in source.walk():
        below[:] = sorted(name for name in below if name not in _LEFT_OUT)
        # A link to a directory may lead anywhere, and in circles.
        links = [name for name in below if (where / name).is_symlink()]
        for name in (*links, *sorted(names)):
            if name not in _LEFT_OUT:
                yield where / name, (where / name).relative_to(source).as_posix()


def _content(path: Path) -> dict[str, Any]:
    raw = path.read_bytes()
    executable = bool(path.stat().st_mode & 0o100)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = "\r"
    # Whoever reads a text may take one end of a line for another.
    if "\r" in text or "\0" in text:
        return {"content": base64.b64encode(raw).decode(), "base64": True, "executable": executable}
    return {"content": text, "base64": False, "executable": executable}
