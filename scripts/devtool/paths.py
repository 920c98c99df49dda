"""Where things lie. All that the bootstrap makes is under .venv/ and .state/ of the checkout."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".state"
LOGS = STATE / "log"
VENV_BIN = Path(sys.prefix) / "bin"


def digest(paths: Iterable[Path], *more: str) -> str:
    """Return one SHA-256 over the content of files (and texts), in the order given."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes())
        total.update(b"\0")
    for text in more:
        total.update(text.encode())
        total.update(b"\0")
    return total.hexdigest()
