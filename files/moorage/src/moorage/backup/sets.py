"""What a backup consists of: parts, each a stream, and a manifest that makes them one set.

The manifest is saved last. Without one, what lies in the repository is no backup: something has
kept it from getting complete, and a later backup of that host takes it away.
"""

from __future__ import annotations

import calendar
import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from socket import gethostname
from typing import IO, Any

from moorage.backup import settings as places
from moorage.backup.faults import BackupError, NoRepository
from moorage.backup.restic import Restic, Snapshot
from moorage.common.files import write_atomically
from moorage.common.shape import make

FORMAT = 1
MANIFEST = "manifest"
# Kinds of sets: all of a stack, and what a restore was about to overwrite.
WHOLE, BEFORE_RESTORE = "whole", "before-restore"
_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
_SNAPSHOT = re.compile(r"[0-9a-f]{8,64}")
_MANIFEST_BYTES = 16 << 20


@dataclass(frozen=True)
class Part:
    """One stream of a set. ``seconds`` is how long it took, ``notes`` what a person should know.

    ``owner`` is the user and the group of the directory that it was made of, ``census`` what the
    service's own command found in it.
    """

    name: str
    snapshot: str
    sha256: str
    bytes: int
    seconds: float
    notes: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None
    census: tuple[str, ...] | None = None

    @property
    def kind(self) -> str:
        """What it is: dump, volume, secrets or release."""
        return self.name.partition("/")[0]

    @property
    def of(self) -> str:
        """The service or volume that it is of."""
        return self.name.partition("/")[2]


@dataclass(frozen=True)
class Set:
    """A backup. ``created`` is when its first part was begun, in Unix seconds."""

    format: int
    id: str
    kind: str
    stack: str
    host: str
    created: float
    release: str
    version: str
    topology: str
    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        """How much it would be outside of the repository."""
        return sum(part.bytes for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Listed:
    """What the list of backups says of one, without reading it."""

    id: str
    kind: str
    stack: str
    host: str
    release: str
    bytes: int
    parts: int
    snapshot: str

    @property
    def created(self) -> float:
        """When it was begun, in Unix seconds."""
        moment = time.strptime(self.id.partition("-")[0], "%Y%m%dT%H%M%SZ")
        return float(calendar.timegm(moment))


def fresh_id() -> str:
    """Return an id for a new set; they sort by time."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"


def tags(stack: str, ident: str, part: str) -> list[str]:
    """Return the tags of a part's snapshot."""
    return ["moorage", f"stack={stack}", f"backup={ident}", f"part={part}"]


def save_manifest(restic: Restic, made: Set) -> None:
    """Save a set's manifest, by which it becomes a backup."""
    content = json.dumps(made.to_dict(), indent=2) + "\n"
    told = (
        f"kind={made.kind}",
        f"release={made.release}",
        f"bytes={made.bytes}",
        f"parts={len(made.parts)}",
    )

    def write(out: IO[bytes]) -> None:
        out.write(content.encode())

    restic.save(write, MANIFEST, [*tags(made.stack, made.id, MANIFEST), *told])


def was_here(repository: str) -> bool:
    """Tell whether this host has had this repository: then it is no place to begin one anew."""
    known = places.STATE / ".repository"
    return known.is_file() and known.read_text(encoding="utf-8").strip() == repository


def remember(repository: str) -> None:
    """Note that this host has a repository."""
    places.STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_atomically(places.STATE / ".repository", repository + "\n", 0o600)


def list_sets(restic: Restic, stack: str) -> list[Listed]:
    """Return the backups of a stack, made by whatever host, the newest first.

    A repository that is not there yet has none; raises NoRepository for one that is gone.
    """
    try:
        found = restic.snapshots(f"stack={stack}", f"part={MANIFEST}")
    except NoRepository:
        if was_here(restic.repository):
            raise
        return []
    listed = (_listed(snapshot) for snapshot in found)
    return sorted((s for s in listed if s is not None), key=lambda s: s.id, reverse=True)


def _listed(snapshot: Snapshot) -> Listed | None:
    said = snapshot.tags
    if not _ID.fullmatch(said.get("backup", "")):
        return None
    size, parts = said.get("bytes", ""), said.get("parts", "")
    return Listed(
        said["backup"],
        said.get("kind", WHOLE),
        said.get("stack", ""),
        snapshot.host,
        said.get("release", ""),
        int(size) if size.isdigit() else 0,
        int(parts) if parts.isdigit() else 0,
        snapshot.id,
    )


def find_set(restic: Restic, stack: str, ident: str = "", host: str = "") -> Set:
    """Return a backup by its id, or the newest one of the whole stack; raises BackupError.

    ``host``: only of what that host has made.
    """
    known = [found for found in list_sets(restic, stack) if host in ("", found.host)]
    wanted = [s for s in known if (s.id == ident if ident else s.kind == WHOLE)]
    if not wanted:
        there = ", ".join(s.id for s in known[:5]) or "none"
        what = f"no backup {ident} of {stack}" if ident else f"no backup of {stack}"
        raise BackupError(f"there is {what} in {restic.repository} (there: {there})")
    here = gethostname()
    if not ident and wanted[0].host != here and any(found.host == here for found in wanted):
        raise BackupError(
            f"the newest backup of {stack}, {wanted[0].id}, is of the host {wanted[0].host}, and "
            f"this one has its own: say with --snapshot which one is meant"
        )
    with restic.read(wanted[0].snapshot, MANIFEST) as source:
        content = source.read(_MANIFEST_BYTES)
    try:
        given = json.loads(content)
        if isinstance(given, dict) and int(given.get("format", 0)) > FORMAT:
            raise BackupError(f"backup {wanted[0].id} is of a newer Moorage: update this host")
        return _sound(make(Set, given), wanted[0])
    except (ValueError, TypeError) as trouble:
        raise BackupError(f"the manifest of backup {wanted[0].id} is damaged: {trouble}") from None


def _sound(found: Set, listed: Listed) -> Set:
    """Return a manifest that is what its snapshot says; raises ValueError.

    Other hosts may write to the same repository: their words must not be options of restic.
    """
    if (found.id, found.stack) != (listed.id, listed.stack):
        raise ValueError(f"it is of {found.stack} {found.id}")
    for part in found.parts:
        if not _SNAPSHOT.fullmatch(part.snapshot):
            raise ValueError(f"{part.name}: {part.snapshot!r} is no snapshot")
    return found


class Meter:
    """Passes on what is written to it, and keeps its digest and length."""

    def __init__(self, *to: IO[bytes]) -> None:
        self._to = to
        self._digest = hashlib.sha256()
        self.bytes = 0

    def write(self, piece: bytes) -> int:
        """Pass a piece on."""
        self._digest.update(piece)
        self.bytes += len(piece)
        for out in self._to:
            out.write(piece)
        return len(piece)

    def flush(self) -> None:
        """Do nothing: nothing is kept here."""

    @property
    def sha256(self) -> str:
        """Of all that was written, in hexadecimal digits."""
        return self._digest.hexdigest()


class Checked:
    """Reads a stream that is to be a certain part, and keeps its digest and length."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._meter = Meter()

    def read(self, size: int = -1) -> bytes:
        """Return a piece of it."""
        piece = self._source.read(size)
        self._meter.write(piece)
        return piece

    def end(self, part: Part, ident: str) -> None:
        """Read what is left of it; raises BackupError unless all of it was as it was saved."""
        while self.read(1 << 20):
            pass
        if (self._meter.sha256, self._meter.bytes) != (part.sha256, part.bytes):
            raise BackupError(
                f"{part.name} of backup {ident} is not what was saved: {self._meter.bytes} bytes "
                f"of {part.bytes}, sha256 {self._meter.sha256[:16]}… in place of "
                f"{part.sha256[:16]}…. Restore another backup, and let `restic check` look at it"
            )


def total(parts: Iterable[Part]) -> int:
    """Return how many bytes parts have together."""
    return sum(part.bytes for part in parts)
