"""What was done with backups, noted beside them and signed by the host's key, as receipts are.

A failure is an alarm only where somebody learns of it: `moorage status`, the panel and the metrics
all read what is written here.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from moorage.backup import settings as places
from moorage.backup.sets import Set
from moorage.common.files import write_atomically
from moorage.common.signing import SigningError, sign
from moorage.control.backups import read_noted
from moorage.control.metrics import family
from moorage.deploy.receipt import KEY
from moorage.release.names import BACKUP_NOTE, PROOF_NOTE

# Name, meaning and value.
Figure = tuple[str, str, float]


@dataclass(frozen=True)
class Saving:
    """How the last backup went. ``backup`` is the newest one that is complete, and ``made`` when.

    Times are in Unix seconds; a ``message`` says why it failed.
    """

    stack: str
    host: str
    ok: bool
    started: float
    finished: float
    backup: str
    made: float
    message: str = ""


def backup_of(stack: str) -> Path:
    """Return where it stands how a stack's last backup went; its signature lies beside it."""
    return places.STATE / BACKUP_NOTE.format(stack)


def proof_of(stack: str) -> Path:
    """Return where the result of a stack's last proof is, signed in the same way."""
    return places.STATE / PROOF_NOTE.format(stack)


def restore_of(stack: str) -> Path:
    """Return where the result of a stack's last restore is, signed in the same way."""
    return places.STATE / f"{stack}.restored.json"


def note_backup(stack: str, began: float, made: Set | None, message: str = "") -> None:
    """Note how a backup went; ``made`` is None for one that failed.

    Never raises what comes of it: why the backup failed is more to say.
    """
    path = backup_of(stack)
    before = read_noted(path)
    found = Saving(
        stack,
        socket.gethostname(),
        made is not None,
        round(began, 3),
        round(time.time(), 3),
        made.id if made else before.get("backup", ""),
        made.created if made else before.get("made", 0.0),
        message,
    )
    figures = (
        ("moorage_backup_ok", "Whether the last backup went well.", float(found.ok)),
        ("moorage_backup_time_seconds", "When the newest one was made; 0: none.", found.made),
    )
    comment = f"{stack} backup {made.id if made else 'failed'} on {found.host}"
    with suppress(OSError):
        write(path, asdict(found), comment, figures)


def write(
    path: Path, result: Mapping[str, Any], comment: str, figures: Sequence[Figure] = ()
) -> str:
    """Write a result and sign it under a comment; returns why it is not signed, "" if it is.

    Figures of a stack go beside, in Prometheus' text format. A host that has no key signs nothing.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    # An application chooses what its files are called: no reader takes what is no text.
    text = json.dumps(result, indent=2, ensure_ascii=False).encode("utf-8", "replace").decode()
    _put(path, text + "\n")
    if figures:
        stack = {"stack": str(result["stack"])}
        lines = (family(name, "gauge", about, [(stack, value)]) for name, about, value in figures)
        _put(path.with_suffix(".prom"), "".join(lines))
    if KEY.exists():
        try:
            sign(path, KEY, comment)
        except SigningError as trouble:
            return f"not signed: {trouble}"
    return ""


def _put(path: Path, text: str) -> None:
    try:
        write_atomically(path, text)
    except OSError:
        # On a full disk what is there makes room for what is to be said of it.
        path.unlink(missing_ok=True)
        write_atomically(path, text)
