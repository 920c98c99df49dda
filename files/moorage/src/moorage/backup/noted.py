"""What was done with backups, noted beside them and signed by the host's key, as receipts are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moorage.backup import settings as places
from moorage.common.files import write_atomically
from moorage.deploy.receipt import KEY
from moorage.probe.signing import SigningError, sign


def proof_of(stack: str) -> Path:
    """Return where the result of a stack's last proof is; its signature lies beside it."""
    return places.STATE / f"{stack}.json"


def restore_of(stack: str) -> Path:
    """Return where the result of a stack's last restore is, signed in the same way."""
    return places.STATE / f"{stack}.restored.json"


def write(path: Path, result: Mapping[str, Any], comment: str) -> str:
    """Write a result and sign it under a comment; returns why it is not signed, "" if it is.

    A host that has no key signs nothing.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_atomically(path, json.dumps(result, indent=2) + "\n")
    if KEY.exists():
        try:
            sign(path, KEY, comment)
        except SigningError as trouble:
            return f"not signed: {trouble}"
    return ""
