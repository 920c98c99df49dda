"""A backup's streams of files, fetched beside what they are to replace, and the exchange of both.

Directories change places by renames, each of which can be told from what lies there: so what was
cut off is finished or undone by doing it again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moorage.backup.archive import Broken, unpack
from moorage.backup.faults import BackupError
from moorage.backup.restic import Restic
from moorage.backup.sets import Checked, Part, Set
from moorage.backup.work import sized
from moorage.deploy.foreign import remove_tree
from moorage.deploy.release import Release
from moorage.release.layout import Layout


@dataclass(frozen=True)
class Tree:
    """A directory that is replaced: where it lies, the new one beside it, and the old one."""

    name: str
    path: str
    fresh: str
    old: str


def tree_of(layout: Layout, part: Part) -> Tree:
    """Return what a part is to replace; BackupError where something is mounted there."""
    path = layout.base / "secrets" if part.kind == "secrets" else layout.data / part.of
    if mounted := _mounted(path):
        raise BackupError(
            f"{mounted} is a mount of its own, which no backup has, and which would go along "
            f"with what is replaced: unmount it, or restore this part by hand"
        )
    beside = (str(path.with_name(f".{path.name}.{kind}")) for kind in ("restored", "before"))
    return Tree(part.name, str(path), *beside)


def require_room(directory: Path, needed: int, purpose: str, mend: str = "make room") -> None:
    """Raise BackupError unless so many bytes fit beside what the disk of a directory has."""
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise BackupError(
            f"{directory} has {sized(free)} free, and {purpose} needs about {sized(needed)} "
            f"beside what is there: {mend}"
        )


def fetch_tree(
    restic: Restic,
    found: Set,
    part: Part,
    directory: Path,
    users: Mapping[int, int] | None = None,
    groups: Mapping[int, int] | None = None,
) -> None:
    """Make a directory, which is not there yet, of a part, and check that it is what was saved.

    ``users`` and ``groups`` are as in `unpack`. Raises BackupError and OSError; what is there by
    then is left.
    """
    with restic.read(part.snapshot, part.name) as source:
        checked = Checked(source)
        try:
            unpack(checked, directory, users, groups)  # type: ignore[arg-type]
        except Broken as trouble:
            # What was cut off or altered says so better than what it looks like.
            checked.end(part, found.id)
            raise BackupError(f"{part.name} of backup {found.id}: {trouble}") from None
        checked.end(part, found.id)


def owners_of(release: Release, part: Part, path: Path) -> tuple[dict[int, int], dict[int, int]]:
    """Return who on this host is whom of the backup: stacks have other numbers elsewhere.

    ``path`` is where the release has the part's directory.
    """
    seeded = {seed.path for seed in release.manifest.seeds}
    entries = (e for e in release.manifest.directories or () if e.path not in seeded)
    wanted = next(((e.owner, e.group) for e in entries if e.path == str(path)), None)
    if part.owner is None or wanted is None or part.kind != "volume":
        return {}, {}
    return {part.owner[0]: wanted[0]}, {part.owner[1]: wanted[1]}


def put(tree: Tree) -> None:
    """Have the new directory in its place and the old one beside it, however far that had got."""
    path, fresh, old = Path(tree.path), Path(tree.fresh), Path(tree.old)
    if fresh.is_dir():
        if os.path.lexists(path) and not old.is_dir():
            path.rename(old)
        fresh.rename(path)


def take_back(tree: Tree) -> None:
    """Have the old directory in its place again, and the new one beside it."""
    path, fresh, old = Path(tree.path), Path(tree.fresh), Path(tree.old)
    if old.is_dir():
        if os.path.lexists(path):
            path.rename(fresh)
        old.rename(path)


def remove_beside(tree: Tree) -> None:
    """Remove the new directory and the old one, where they lie beside."""
    for path in (Path(tree.fresh), Path(tree.old)):
        if path.is_dir():
            remove_tree(path)


def _mounted(path: Path) -> str:
    """Return what is mounted at a path or below it, "" for nothing."""
    top = os.path.realpath(path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        points = [line.split()[4] for line in mounts]
    return next((p for p in points if p == top or p.startswith(f"{top}/")), "")
