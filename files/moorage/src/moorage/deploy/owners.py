"""Whose the directories of a stack are: they change hands with its release, and not before."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from moorage.common.files import write_atomically
from moorage.common.readers import Damaged
from moorage.common.shape import read_shaped
from moorage.deploy.difference import Owned, Turn, sees, turns
from moorage.deploy.foreign import Passed, pass_on
from moorage.deploy.release import Release, list_releases, readable_release
from moorage.release.layout import Layout
from moorage.release.manifest import Directory, text_of
from moorage.release.names import MANIFEST

Pair = tuple[int, int]


class Owners:
    """The directories of one release, as they are and as they are meant to be.

    ``services`` are those of its Compose file, by key.
    """

    def __init__(self, layout: Layout, release: Release, services: Mapping[str, Any]) -> None:
        self._layout = layout
        self._wanted = _wanted(release, "directories", "runtime")
        self._below_run = _wanted(release, "runtime").keys()
        self._writers = {path: set(_writers(path, services)) for path in self._wanted}
        self._known: dict[str, set[Pair]] | None = None

    def turns(self) -> list[Turn]:
        """Return the directories that have to change hands."""
        if self._known is None:
            self._known = _known(self._layout)
        return turns(
            self._wanted,
            _there(self._wanted),
            known=self._known,
            begun=_begun(self._layout),
            writers=self._writers,
        )

    def change(self, turn: Turn) -> Passed:
        """Have a directory change hands, with what lies in it; raises OSError.

        Between whom it is, is noted until it is done: whoever comes after one that was cut off
        goes on from there, forward or back.
        """
        begun = _begun(self._layout)
        between = {turn.old.pair, turn.new.pair, *begun.get(turn.path, ())}
        _note(self._layout, {**begun, turn.path: between})
        done = pass_on(
            Path(turn.path),
            turn.new.pair,
            turn.new.mode,
            turn.users,
            turn.groups,
            # They are the gateway's and the supervisor's there, and go with it.
            sockets=turn.path in self._below_run,
        )
        _note(self._layout, {path: who for path, who in begun.items() if path != turn.path})
        return done


def astray(layout: Layout) -> list[str]:
    """Say which directories are another's than the running release wants."""
    release = readable_release(layout)
    if release is None:
        return []
    wanted = _wanted(release, "directories")
    found = turns(wanted, _there(wanted), known=_known(layout), begun=_begun(layout), writers={})
    return [f"{turn.path}: {turn.old} instead of {turn.new}" for turn in found]


def with_owners(release: Release, other: Release) -> Release:
    """Have a release say whose the directories are that change hands with ``other``.

    One of an older version says it of none, and of what an image has filled nobody does. Nothing of
    ``other`` has run yet, so they are as the release wants them, and are so again on the way back.
    """
    manifest = release.manifest
    taken = {seed.path for seed in manifest.seeds} & _wanted(other, "directories").keys()
    if manifest.directories is not None and not taken:
        return release
    there = _there(taken if manifest.directories is not None else _wanted(other, "directories"))
    found = tuple(Directory(p, now.uid, now.gid, f"{now.mode:04o}") for p, now in there.items())
    kept = (entry for entry in manifest.directories or () if entry.path not in there)
    seeds = tuple(seed for seed in manifest.seeds if seed.path not in there)
    manifest = replace(manifest, directories=(*kept, *found), seeds=seeds)
    path = release.path / MANIFEST
    brought = path.stat()
    write_atomically(path, text_of(manifest))
    # When it was brought tells how long it is kept.
    os.utime(path, ns=(brought.st_atime_ns, brought.st_mtime_ns))
    return replace(release, manifest=manifest)


def _wanted(release: Release, *keys: str) -> dict[str, Owned]:
    # What is an image's stays as that has made it.
    seeded = {seed.path for seed in release.manifest.seeds}
    every = (entry for key in keys for entry in getattr(release.manifest, key) or ())
    found = (entry for entry in every if entry.path not in seeded)
    return {entry.path: Owned(entry.owner, entry.group, int(entry.mode, 8)) for entry in found}


def _there(paths: Iterable[str]) -> dict[str, Owned]:
    found = {}
    for path in paths:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            continue
        found[path] = Owned(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
    return found


def _known(layout: Layout) -> dict[str, set[Pair]]:
    """Return the owners that retained releases want, by directory."""
    found: dict[str, set[Pair]] = {}
    for release in list_releases(layout):
        for path, owned in _wanted(release, "directories", "runtime").items():
            found.setdefault(path, set()).add(owned.pair)
    return found


def _writers(path: str, services: Mapping[str, Any]) -> Iterator[Pair]:
    for entry in services.values():
        user, _, group = str(entry.get("user") or "").partition(":")
        numeric = user.isdigit() and (group or user).isdigit()
        mounts = [m for m in entry.get("volumes") or () if not m.get("read_only")]
        if numeric and sees(path, (str(m["source"]) for m in mounts if m.get("source"))):
            yield int(user), int(group or user)


def _begun(layout: Layout) -> dict[str, set[Pair]]:
    """Return the directories that were between owners when somebody was cut off."""
    try:
        found = read_shaped(layout.hands, dict[str, list[tuple[int, int]]]) or {}
    except Damaged:
        # Not what we write there.
        return {}
    return {path: {(user, group) for user, group in pairs} for path, pairs in found.items()}


def _note(layout: Layout, begun: Mapping[str, Iterable[Pair]]) -> None:
    left = {path: sorted(pairs) for path, pairs in begun.items()}
    if left:
        write_atomically(layout.hands, json.dumps(left) + "\n")
    else:
        layout.hands.unlink(missing_ok=True)
