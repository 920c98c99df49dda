"""Which backups stay: restic's own policy on manifests, and with a manifest goes its whole set."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from moorage.backup import settings as places
from moorage.backup.faults import BackupError, NoRepository
from moorage.backup.noted import proof_of
from moorage.backup.sets import BEFORE_RESTORE, MANIFEST, WHOLE, remember, was_here
from moorage.backup.settings import Keep
from moorage.backup.work import Work
from moorage.control.backups import read_noted

_DAY_SECONDS = 86_400.0
# What restores have overwritten: nobody wants more of it back.
_BEFORE_RESTORES = Keep(last=3, daily=0, weekly=0, monthly=0)


def retain(work: Work, host: str) -> list[str]:
    """Forget the backups of this host that the policy lets go, and prune once a day.

    The newest one that was proven stays in any case. Parts that never got a manifest go after a
    day: until then another host of this name may be at work on them.
    Returns the ids of the sets that went. Raises BackupError.
    """
    stack, restic = work.layout.stack, work.restic
    own, manifest = f"stack={stack}", f"part={MANIFEST}"
    proven = proven_set(stack)
    keep = {WHOLE: work.settings.keep_of(stack), BEFORE_RESTORE: _BEFORE_RESTORES}
    there = restic.snapshots(own, host=host)
    sets = [s for s in there if s.tags.get("part") == MANIFEST]
    surplus = [
        found
        for kind, policy in keep.items()
        # Asked only where there can be any.
        if sum(s.tags.get("kind") == kind for s in sets) > policy.last
        for found in restic.surplus(policy, own, manifest, f"kind={kind}", host=host)
    ]
    going = {s.tags.get("backup", "") for s in surplus} - {proven}
    whole = {s.tags.get("backup", "") for s in sets}
    yesterday = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - _DAY_SECONDS))
    # Ids sort by time.
    parts = {i for i in (s.tags.get("backup", "") for s in there) if i < yesterday} - whole
    gone = [s for s in there if s.tags.get("backup", "") in going | parts]
    if gone:
        # Manifests first: a set that loses its parts before is no backup that somebody may take.
        restic.forget([s.id for s in sorted(gone, key=lambda s: s.tags.get("part") != MANIFEST)])
    _prune(work)
    return sorted(going & whole)


def proven_set(stack: str) -> str:
    """Return the id of the newest backup that was proven to restore, "" when there is none."""
    return read_noted(proof_of(stack)).get("proven", "")


def require_repository(work: Work) -> None:
    """Begin the repository where this host had none yet; one that has gone is not begun anew.

    A backup on the empty place where a disk was mounted would be none.
    """
    here = work.restic.repository
    try:
        work.restic.snapshots(f"stack={work.layout.stack}")
    except NoRepository:
        if was_here(here):
            raise
        work.restic.begin()
        work.tell(f"began the repository {here}")
    remember(here)


def _prune(work: Work) -> None:
    stamp = places.STATE / ".pruned"
    with suppress(OSError):
        if time.time() - stamp.stat().st_mtime < _DAY_SECONDS:
            return
    work.restic.prune()
    try:
        stamp.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        stamp.touch()
        os.utime(stamp)
    except OSError as trouble:
        raise BackupError(f"cannot note that the repository was pruned: {trouble}") from None
