"""Releases: immutable, content-hashed directories, and the symlink that names the running one.

Above 400 lines: what a release brings, and what goes with it, is one trade.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorage.common.files import lead, put_aside, write_atomically
from moorage.common.readers import Damaged, read_bytes, read_lines, read_object
from moorage.common.shape import make, read_shaped
from moorage.deploy.accounts import with_names
from moorage.deploy.foreign import give, remove_tree
from moorage.release.layout import RELEASE_ID as _ID
from moorage.release.layout import Layout, release_names
from moorage.release.manifest import Directory, Manifest, parse, text_of
from moorage.release.names import (
    COMPOSE,
    MANIFEST,
    RECEIPT,
    RECEIPTS,
    SHIPPED,
    SHIPPED_BASE64,
    SHIPPED_DIRECTORY,
)

# Where Supervisor's programs are described, of stacks and of others; how ours begin.
PROGRAMS = Path("/etc/supervisor/conf.d")
_OURS = b"# Written by Moorage"
ROTATIONS = Path("/etc/logrotate.d")
# How long a release that was brought may wait to be activated before it counts as given up.
_WAITING_SECONDS = 3600.0
# Unix seconds that any clock can have.
_LATEST = 1 << 35
_MEND = "Deploy the stack again: that makes its release anew"
_FOREIGN = "it was made by another program. Move it away, or give the stack another name"


class ReleaseError(Exception):
    """A release is missing, damaged or may not be touched; the message says which and why."""


@dataclass(frozen=True)
class Release:
    """One release directory and its manifest (``release.json``)."""

    id: str
    path: Path
    manifest: Manifest

    @property
    def compose_file(self) -> Path:
        """The Compose file that the engine is given."""
        return self.path / COMPOSE

    @property
    def topology(self) -> str:
        """The topology that the release was rendered for."""
        return self.manifest.topology

    @property
    def images(self) -> tuple[str, ...]:
        """Every image reference that the release needs."""
        return self.manifest.images


def read_release(layout: Layout, release_id: str) -> Release:
    """Return a release of the stack.

    Raises ReleaseError when there is none of that id or its manifest cannot be read.
    """
    if not _ID.fullmatch(release_id):
        raise ReleaseError(f"{release_id!r} is no release id: twelve hexadecimal digits")
    path = layout.releases / release_id
    try:
        found = read_object(path / MANIFEST)
    except Damaged as damage:
        raise ReleaseError(f"{damage}. {_MEND}") from None
    if found is None:
        kept = ", ".join(r.id for r in list_releases(layout)) or "none"
        raise ReleaseError(
            f"{layout.stack} has no release {release_id} on this host (kept: {kept})"
        )
    try:
        return Release(release_id, path, parse(found))
    except ValueError as trouble:
        raise ReleaseError(f"{Damaged(path / MANIFEST, str(trouble))}. {_MEND}") from None


def list_releases(layout: Layout) -> list[Release]:
    """Return the retained releases that can be read, the one that was activated last first."""
    found = []
    for name in release_names(layout.releases):
        with suppress(ReleaseError):
            found.append(read_release(layout, name))
    order = {line["release"]: n for n, line in enumerate(history(layout))}
    return sorted(found, key=lambda r: (order.get(r.id, -1), r.id), reverse=True)


def current_release(layout: Layout) -> Release | None:
    """Return the running release, or None before the first deploy.

    Raises ReleaseError when it cannot be read, or ``current`` is another program's.
    """
    try:
        target = layout.current.readlink()
    except FileNotFoundError:
        return None
    except OSError:
        raise ReleaseError(f"{layout.current} is no link to a release: {_FOREIGN}") from None
    if not _ID.fullmatch(target.name):
        raise ReleaseError(f"{layout.current} leads to {target}, which is no release: {_FOREIGN}")
    return read_release(layout, target.name)


def readable_release(layout: Layout) -> Release | None:
    """Return the running release, None as well where it cannot be read."""
    with suppress(ReleaseError):
        return current_release(layout)
    return None


def history(layout: Layout) -> list[dict[str, Any]]:
    """Return every activation of the stack, oldest first."""
    try:
        lines = list(read_lines(layout.history))
    except Damaged:
        return []
    return [line for line in lines if _is_activation(line)]


@dataclass(frozen=True)
class _Activation:
    """A line of the history; ``at`` in Unix seconds."""

    release: str
    at: float
    action: str = ""


def _is_activation(line: Mapping[str, Any]) -> bool:
    try:
        found = make(_Activation, line)
    except ValueError:
        return False
    return 0 <= found.at < _LATEST and bool(_ID.fullmatch(found.release))


def previous_release(layout: Layout) -> Release:
    """Return what ran before the running release, of what is still retained.

    Runs that changed nothing are not in the history, so that they never hide it, and going back
    twice goes back twice: what one has gone back from may be as bad as what came after it. Raises
    ReleaseError, naming what is retained, when there is nothing to go back to.
    """
    running = readable_release(layout)
    kept = {release.id: release for release in list_releases(layout)}
    for name in reversed(_lineage(history(layout))):
        if name in kept and (running is None or name != running.id):
            return kept[name]
    here = ", ".join(kept) or "none"
    raise ReleaseError(
        f"{layout.stack} has no earlier release to go back to (retained: {here}; running: "
        f"{running.id if running else 'none'})"
    )


def _lineage(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the releases that led to the running one, without those that were gone back from."""
    found: list[str] = []
    for line in lines:
        name = str(line["release"])
        if line.get("action") == "rollback" and name in found:
            while found[-1] != name:
                found.pop()
        elif found[-1:] != [name]:
            found.append(name)
    return found


def read_files(release: Release) -> dict[str, tuple[str, int]]:
    """Return content and mode of every file of the release but its manifest."""
    return {
        path.relative_to(release.path).as_posix(): (
            path.read_text(encoding="utf-8"),
            path.stat().st_mode & 0o777,
        )
        for path in sorted(release.path.rglob("*"))
        if path.is_file() and path.name != MANIFEST and not path.name.startswith(RECEIPTS)
    }


def point_current_at(layout: Layout, release: Release, action: str = "deploy") -> None:
    """Make ``current`` name ``release`` in one step, and note that and why in the history."""
    lead(layout.current, f"releases/{release.id}")
    # From here on it is the current one, whether or not that can be noted.
    with suppress(OSError):
        _note_activation(layout, release, action)


def _note_activation(layout: Layout, release: Release, action: str) -> None:
    line = {"release": release.id, "at": round(time.time(), 3), "action": action}
    try:
        read_bytes(layout.history)
    except Damaged:
        # Nobody will ever read what is appended to it.
        put_aside(layout.history)
    with layout.history.open("ab+") as out:
        # What was cut off before its end stays a line of its own.
        torn = out.tell() and out.seek(-1, os.SEEK_END) >= 0 and out.read(1) != b"\n"
        out.write((b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")
        out.flush()
        os.fsync(out.fileno())


def install_files(release: Release) -> None:
    """Put what a release wants at paths of its own there, and make its directories below /run.

    Stable paths and not the release's: a container that mounts a release directory would have to
    be replaced at every change of a process.
    """
    for name, target in release.manifest.install.items():
        path, wanted, mode = Path(target), _content(release, name), 0o644
        if name.startswith((SHIPPED, SHIPPED_BASE64)):
            mode = 0o755 if (release.path / name).stat().st_mode & 0o100 else mode
        if name.startswith(SHIPPED_BASE64):
            wanted = b64decode(wanted)
        if path.parent == ROTATIONS:
            wanted = with_names(wanted)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not _holds(path, wanted):
            _refuse_foreign(path)
            write_atomically(path, wanted, mode)
    make_runtime(release)


def _refuse_foreign(path: Path) -> None:
    """Raise ReleaseError for a file of the host's that only happens to be called as the stack."""
    there = read_bytes(path) if (path.parent == PROGRAMS or path.suffix == ".target") else None
    if there and not there.startswith(_OURS):
        raise ReleaseError(
            f"{path} is there and not Moorage's, and would be lost: move it away, with what runs "
            "of it, or give the stack another name"
        )


def read_part(release: Release, name: str, hint: Any) -> dict[str, Any]:
    """Return the object in a file of a release; raises ReleaseError unless it fits ``hint``."""
    try:
        found = read_shaped(release.path / name, hint)
    except Damaged as damage:
        raise ReleaseError(f"{damage}. {_MEND}") from None
    if found is None:
        raise ReleaseError(f"release {release.id} has no {name}. {_MEND}")
    return found


def _content(release: Release, name: str) -> bytes:
    found = read_bytes(release.path / name)
    if found is None:
        raise ReleaseError(f"release {release.id} has no {name}. {_MEND}")
    return found


def _holds(path: Path, wanted: bytes) -> bool:
    try:
        return read_bytes(path) == wanted
    except Damaged:
        return False


def make_runtime(release: Release) -> None:
    """Make the directories below /run that containers of the release mount."""
    for entry in release.manifest.runtime:
        _runtime_directory(Path(entry.path), entry)


def _runtime_directory(path: Path, entry: Directory) -> None:
    """Make a directory that is gone after a boot; then the release's tmpfiles.d entry makes it.

    One that is there may be at work for what runs: it changes hands when that has stopped.
    """
    if path.is_dir():
        return
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    give(path, entry.owner, entry.group, int(entry.mode, 8))


def only_of(release: Release, stays: Release | None) -> list[Path]:
    """Return the paths at which a release has installed a file and the one that stays has none."""
    kept = set(stays.manifest.install.values()) if stays else set()
    return [Path(t) for t in release.manifest.install.values() if t not in kept]


def remove_files(release: Release, stays: Release | None = None) -> None:
    """Take away what `install_files` has put somewhere, and directories that are empty then.

    What the release that stays has put there is left.
    """
    for path in only_of(release, stays):
        path.unlink(missing_ok=True)
        for above in path.parents:
            if not above.is_dir() or any(above.iterdir()):
                break
            above.rmdir()


def remove_runtime(directory: Path) -> None:
    """Take away what one form of a stack had below ``/run``, sockets and pipes and all."""
    if directory.is_dir():
        remove_tree(directory)


def write_release(
    layout: Layout,
    release_id: str,
    files: Mapping[str, tuple[str, int]],
    manifest: Mapping[str, Any],
) -> Release:
    """Write a release directory as a whole: it is there complete, or not at all.

    ``files`` maps a relative path to its content and mode. A release that is already there is
    returned as it stands: its name is the hash of its content. One that has not that content any
    more is made anew.
    """
    path, said = layout.releases / release_id, parse(manifest)
    try:
        there = read_release(layout, release_id)
    except ReleaseError:
        # None, or one that was cut short: it is made, or made anew.
        there = None
    if there is not None and _is_whole(there, files, said):
        # It is wanted again: `prune_releases` sees that.
        os.utime(path / MANIFEST)
        return there
    with _scratch_directory(layout.releases, release_id) as scratch:
        for name, (content, mode) in files.items():
            target = scratch / name
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, content, mode)
        # The manifest is last: a directory without one is no release.
        write_atomically(scratch / MANIFEST, text_of(said))
        if path.exists():
            # Its receipts stay: they tell of what ran.
            for receipt in path.glob(f"{RECEIPTS}*"):
                receipt.rename(scratch / receipt.name)
            # `current` may lead here: it is away between two renames, no longer.
            path.rename(spoilt := scratch.with_name(f"{scratch.name}.old"))
            scratch.rename(path)
            if spoilt.is_dir():
                remove_tree(spoilt)
            else:
                spoilt.unlink()
        else:
            scratch.rename(path)
    return read_release(layout, release_id)


def _is_whole(there: Release, files: Mapping[str, tuple[str, int]], manifest: Manifest) -> bool:
    """Tell whether a release on the disk still is what its name says."""
    if there.manifest != manifest:
        return False
    try:
        content = read_files(there)
    except (OSError, ValueError):
        return False
    return {name: text for name, (text, _) in content.items()} == {
        name: text for name, (text, _) in files.items()
    }


@contextmanager
def _scratch_directory(parent: Path, name: str) -> Iterator[Path]:
    scratch = parent / f".{name}.{os.getpid()}"
    scratch.mkdir(mode=0o755, parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def prune_releases(layout: Layout, keep: int) -> list[str]:
    """Remove all but the ``keep`` releases activated last; the current one always stays.

    Returns the ids that were removed. Only directories that are releases are touched.
    """
    running = readable_release(layout)
    activated = {line["release"]: float(line["at"]) for line in history(layout)}
    removed = []
    for release in list_releases(layout)[keep:]:
        if running is not None and release.id == running.id:
            continue
        brought = (release.path / MANIFEST).stat().st_mtime
        # The history rounds to milliseconds.
        waits = brought > max(activated.get(release.id, 0.0) + 0.001, _tried(release))
        if waits and time.time() - brought < _WAITING_SECONDS:
            # Another run has just brought it, and waits for its turn.
            continue
        shutil.rmtree(release.path)
        removed.append(release.id)
    _prune_shipped(layout)
    return removed


def _prune_shipped(layout: Layout) -> None:
    """Remove what releases have shipped of the stack's directory that are gone; it is root's."""
    top = layout.base / SHIPPED_DIRECTORY
    wanted = [Path(t) for r in list_releases(layout) for t in r.manifest.install.values()]
    kept = {path.relative_to(top).parts[0] for path in wanted if path.is_relative_to(top)}
    for path in top.iterdir() if top.is_dir() else ():
        if path.name not in kept:
            remove_tree(path)


def _tried(release: Release) -> float:
    """Return when the release was last rolled out, well or not, in Unix seconds; 0.0 for never."""
    try:
        return (release.path / RECEIPT).stat().st_mtime
    except FileNotFoundError:
        return 0.0
