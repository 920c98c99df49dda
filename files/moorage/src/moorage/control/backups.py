"""What a host has noted of a stack's backups, for who asks the control API."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moorage.common.readers import read_note
from moorage.control.contract import Attempt, Backups
from moorage.release.names import BACKUP_NOTE, PROOF_NOTE


def read_backups(directory: Path, stack: str) -> Backups:
    """Return what stands in a directory; nothing where that cannot be read."""
    notes = (read_note(directory / name.format(stack)) for name in (BACKUP_NOTE, PROOF_NOTE))
    return Backups(*(_attempt(note) if note else None for note in notes))


def _attempt(note: Mapping[str, Any]) -> Attempt:
    said = str(note.get("message") or "") or next(
        (
            f"{part.get('name')}: {part.get('detail')}"
            for part in note.get("parts") or ()
            if not part.get("ok")
        ),
        "",
    )
    # A service's log may follow, which is for who is on the host.
    return Attempt(
        bool(note.get("ok")),
        float(note.get("finished") or 0.0),
        float(note.get("made") or 0.0),
        said.partition("\n")[0],
    )
