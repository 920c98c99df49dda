"""The environments of a stack on this host: what native instances have in the place of images."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from moorage.deploy.release import readable_release
from moorage.images.environment import COMPLETE, is_complete, remove, sweep_wheels
from moorage.release.layout import Layout
from moorage.release.native import PREFIX, environment_name, is_environment

_NAME = re.compile(r"(.+)-([0-9a-f]{12})")


def missing(layout: Layout, refs: Sequence[str]) -> list[str]:
    """Return those of ``refs`` that are no environment here, or one for another Python."""
    return [ref for ref in refs if not is_complete(layout.environment(ref))]


def lacking(layout: Layout) -> list[str]:
    """Return what the running release has to run from and has not."""
    release = readable_release(layout)
    refs = release.images if release else ()
    return missing(layout, [ref for ref in refs if is_environment(ref)])


def digests(layout: Layout, refs: Sequence[str]) -> dict[str, str]:
    """Return hashes of what went into the environments that are here, by reference."""
    absent = missing(layout, refs)
    return {
        ref: f"sha256:{(layout.environment(ref) / COMPLETE).read_text(encoding='utf-8').strip()}"
        for ref in refs
        if ref not in absent
    }


def prune(layout: Layout, keep: Collection[str], in_use: Collection[str]) -> list[str]:
    """Remove the stack's environments but for those two, and wheels that no other one is made of.

    Returns the references of what was removed. What cannot be removed stays, no more complete.
    """
    kept = {environment_name(ref) for ref in (*keep, *in_use)}
    removed = []
    for path in sorted(layout.environments.glob("*")):
        if (name := _NAME.fullmatch(path.name)) and path.name not in kept:
            try:
                remove(path)
            except OSError:
                continue
            removed.append(f"{PREFIX}{name[1]}:{name[2]}")
    if removed:
        sweep_wheels(layout)
    return removed
