"""The secrets of a stack as files of this user's alone."""

from __future__ import annotations

import os
import secrets
import string
from pathlib import Path

from devtool.rootless.places import Places
from moorage.common.files import write_atomically
from moorage.compose import Service, Stack

_SIGNS = string.ascii_letters + string.digits


def ensure(places: Places, stack: Stack, service: Service) -> str:
    """Have the secrets of a service; return why that cannot be, "" when they are there."""
    for grant in service.secrets:
        secret, path = stack.secrets[grant.source], places.secrets / grant.source
        given = Path(secret.file) if secret.file else None
        if given is not None and given.is_file():
            _write(path, given.read_bytes())
        elif secret.environment is not None and secret.environment in os.environ:
            _write(path, os.environb[os.fsencode(secret.environment)])
        elif path.is_file():
            continue
        elif secret.moorage.generate is not None:
            length = secret.moorage.generate
            _write(path, "".join(secrets.choice(_SIGNS) for _ in range(length)).encode())
        elif secret.moorage.optional:
            _write(path, b"")
        else:
            return f"its secret {grant.source} is not there; write it into {path}"
    return ""


def _write(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content, 0o600)
