"""Who signs in to which registry: the operator's file on the controller."""

from __future__ import annotations

import base64
import binascii
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from moorage.images.errors import ImageError

_VAULT = b"$ANSIBLE_VAULT;"
_SHAPE = "{auths: {registry.example.com: {username: NAME, password: WORD}}}"


def check_modes(path: Path) -> None:
    """Raise ImageError unless the file is there, and its owner's alone or a vault."""
    try:
        with path.open("rb") as source:
            sealed = source.read(len(_VAULT)) == _VAULT
            mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ImageError(
            f"images_credentials: {path} cannot be read on this machine ({error.strerror}): "
            "correct the setting, or make the file"
        ) from None
    if mode & 0o077 and not sealed:
        raise ImageError(
            f"images_credentials: {path} has mode {mode:04o}, so that others may read its "
            f"passwords: `chmod 600 {path}`, or encrypt it by ansible-vault"
        )


def read_registries(path: Path, called: Path | None = None) -> dict[str, dict[str, str]]:
    """Return user and password by a registry's host; raises ImageError, which shows no value.

    The file is as `docker login` writes it, or has user and password in clear, in JSON or YAML.
    """
    where = f"images_credentials: {called or path}"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        raise ImageError(f"{where} is neither JSON nor YAML: write {_SHAPE}") from None
    auths = found.get("auths") if isinstance(found, Mapping) else None
    if not isinstance(auths, Mapping):
        raise ImageError(f"{where} has no `auths`: write {_SHAPE}")
    return {str(host): _pair(f"{where}: {host}", entry) for host, entry in auths.items()}


def _pair(where: str, entry: Any) -> dict[str, str]:
    given = dict(entry) if isinstance(entry, Mapping) else {}
    if isinstance(coded := given.get("auth"), str):
        try:
            name, colon, word = base64.b64decode(coded, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            colon = ""
        if not colon:
            raise ImageError(f"{where}: `auth` is not NAME:WORD in base64: sign in anew")
        given = {"username": name, "password": word}
    pair = {key: given.get(key) for key in ("username", "password")}
    if not all(isinstance(value, str) and value for value in pair.values()):
        raise ImageError(f"{where}: it needs `username` and `password`, as texts: write {_SHAPE}")
    return {key: str(value) for key, value in pair.items()}
