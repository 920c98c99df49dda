"""What a host has noted of a stack's backups, for who asks the control API."""

from pathlib import Path
from typing import TypedDict, cast

from moorage.common.readers import Damaged
from moorage.common.shape import read_shaped
from moorage.control.contract import Attempt, Backups
from moorage.release.names import BACKUP_NOTE, PROOF_NOTE


class Piece(TypedDict, total=False):
    """A part of a proof, as far as others look at it."""

    name: str
    ok: bool
    detail: str


class Noted(TypedDict, total=False):
    """What stands in a note, as far as others look at it; see `moorage.backup.noted`."""

    ok: bool
    finished: float
    backup: str
    made: float
    proven: str
    message: str
    parts: list[Piece]


def read_noted(path: Path) -> Noted:
    """Return what was noted of the last backup or proof; ``{}`` where nothing was.

    What cannot be read may have been an alarm, so it is one.
    """
    try:
        return cast(Noted, read_shaped(path, Noted) or {})
    except Damaged as trouble:
        return {"ok": False, "message": str(trouble)}


def read_backups(directory: Path, stack: str) -> Backups:
    """Return what stands in a directory; nothing where that cannot be read."""
    notes = (read_noted(directory / name.format(stack)) for name in (BACKUP_NOTE, PROOF_NOTE))
    return Backups(*(_attempt(note) if note else None for note in notes))


def _attempt(note: Noted) -> Attempt:
    said = note.get("message") or next(
        (
            f"{part.get('name')}: {part.get('detail')}"
            for part in note.get("parts", ())
            if not part.get("ok")
        ),
        "",
    )
    # A service's log may follow, which is for who is on the host.
    return Attempt(
        note.get("ok", False),
        note.get("finished", 0.0),
        note.get("made", 0.0),
        said.partition("\n")[0],
    )
