"""Which secrets the running instances were started with, told by digests under a key of the host.

A secret's file may be replaced by a run that fails later: then what runs holds the old value, and
only what was noted when it last started well tells so. The digest is an HMAC, so that whoever reads
the note cannot try out short values.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Collection
from pathlib import Path

from moorage.common.files import write_atomically
from moorage.common.readers import read_note
from moorage.release.layout import Layout

KEY = Path("/opt/moorage/keys/secrets.key")
_KEY_BYTES = 32
_NOTE = ".secrets.json"


def stale_secrets(layout: Layout, key: Path = KEY) -> list[str]:
    """Return the names of secrets whose file is another one than what runs was started with."""
    noted = read_note(layout.base / _NOTE)
    if not noted:
        return []
    present = _digests(layout, key)
    return sorted(name for name, digest in noted.items() if present.get(name) != digest)


def note_secrets(layout: Layout, without: Collection[str] = (), key: Path = KEY) -> None:
    """Note that what runs holds the present secrets, but those named in ``without``."""
    noted = read_note(layout.base / _NOTE)
    present = _digests(layout, key)
    found = {n: noted.get(n, d) if n in without else d for n, d in present.items()}
    if found != noted:
        content = json.dumps(found, sort_keys=True) + "\n"
        write_atomically(layout.base / _NOTE, content, mode=0o600)


def _digests(layout: Layout, key: Path) -> dict[str, str]:
    directory = layout.base / "secrets"
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return {}
    # Root's own directory, in which nobody else can write: names may be followed.
    files = [name for name in names if stat.S_ISREG((directory / name).lstat().st_mode)]
    if not files:
        return {}
    secret = _key(key)
    return {
        name: hmac.new(secret, (directory / name).read_bytes(), hashlib.sha256).hexdigest()
        for name in files
    }


def _key(path: Path) -> bytes:
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        found = b""
    if len(found) != _KEY_BYTES:
        found = secrets.token_bytes(_KEY_BYTES)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomically(path, found, mode=0o600)
    return found
