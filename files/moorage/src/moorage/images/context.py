"""The files of a build context: which they are and a hash of what they hold."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from moorage.images.errors import ImageError
from moorage.images.ignore import IgnoreRules, ancestors, compile_pattern


@dataclass(frozen=True)
class Entry:
    """One file or symbolic link.

    Directories are implied by their files, owners and times are left out, and of the mode only
    the executable bit counts: what Git keeps is what an image is made of, so that every checkout
    of a commit gives the same image.
    """

    path: str
    source: Path
    mode: int
    link: str | None = None

    def digest(self) -> str:
        """Return a line that changes with everything that counts of the entry."""
        if self.link is not None:
            return f"{self.path}\0link\0{self.link}"
        content = hashlib.sha256(self.source.read_bytes()).hexdigest()
        return f"{self.path}\0{self.mode:o}\0{content}"


def scan(root: Path, rules: IgnoreRules, within: str = "") -> list[Entry]:
    """Return the entries below ``root`` that ``rules`` leave in, sorted by path.

    The rules are those of ``root``, or of a directory above it: ``within`` is the way from there,
    with a slash at its end. Raises ImageError when ``root`` is no directory or holds something that
    is not a file.
    """
    if not root.is_dir():
        raise ImageError(f"{root} is not a directory")
    found = []
    for directory, names, files in os.walk(root):
        links = [name for name in names if (Path(directory) / name).is_symlink()]
        for name in files + links:
            source = Path(directory, name)
            path = source.relative_to(root).as_posix()
            if not rules.excludes(within + path):
                found.append(_entry(path, source))
        # A negated pattern may bring back what lies in an excluded directory, so only what no
        # pattern can bring back is not descended into.
        names[:] = [name for name in names if name not in (".git", "__pycache__", *links)]
    return sorted(found, key=lambda entry: entry.path)


def rules_of(root: Path, dockerfile: Path | None = None) -> IgnoreRules:
    """Read the ignore file of a context; one named after the Dockerfile comes first."""
    candidates = [root / ".dockerignore"]
    if dockerfile is not None:
        candidates.insert(0, dockerfile.with_name(dockerfile.name + ".dockerignore"))
    for path in candidates:
        if path.is_file():
            try:
                return IgnoreRules.parse(path.read_text(encoding="utf-8"))
            except ImageError as error:
                raise ImageError(f"{path}: {error}") from error
    return IgnoreRules()


def digest(entries: Iterable[Entry]) -> str:
    """Return the SHA-256 (hex) of names, contents, executable bits and targets of links."""
    lines = sorted(entry.digest() for entry in entries)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def select(entries: Sequence[Entry], sources: Iterable[str]) -> list[Entry]:
    """Return the entries that the sources of COPY name: files, directories, patterns.

    A symbolic link among them may lead anywhere in the context, so then it is all of them.
    """
    patterns = [compile_pattern(source) for source in sources]
    chosen = [
        entry
        for entry in entries
        if any(rule.match(name) for rule in patterns for name in ancestors(entry.path))
    ]
    through_link = any(entry.link is not None for entry in chosen)
    return list(entries) if through_link else chosen


def _entry(path: str, source: Path) -> Entry:
    if source.is_symlink():
        return Entry(path, source, 0o777, os.readlink(source))
    if not source.is_file():
        raise ImageError(
            f"{source} is neither a file nor a directory: remove it or add it to .dockerignore"
        )
    return Entry(path, source, 0o755 if source.stat().st_mode & 0o100 else 0o644)
