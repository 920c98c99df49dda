"""The recovery kit: what a host's backups cannot be read without, kept where the host is not."""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from typing import Any

# In the order in which they are asked for.
_FILES = (
    "/opt/moorage/backup/settings.json",
    "/opt/moorage/keys/backup.password",
    "/opt/moorage/backup/environment",
)
# Each file on a line of its own, empty for one that is not there; then who owns which stack; then
# key and head of what is encrypted on the disk.
QUESTION = (
    f"for file in {' '.join(_FILES)}; do base64 --wrap=0 $file 2>/dev/null; echo; done; "
    "stat -c '%u:%g %n' /opt/*/logs 2>/dev/null; "
    "for key in /opt/moorage/keys/storage-*.key; do stack=${key#*/storage-}; stack=${stack%.key}; "
    "head=/opt/$stack/encrypted/gocryptfs.conf; test ! -e $head || "
    'echo "$stack $(base64 --wrap=0 $key) $(base64 --wrap=0 $head)"; done; true'
)
_OWNER = re.compile(r"([0-9]+:[0-9]+) /opt/([^/]+)/logs")
_ENCRYPTED = re.compile(r"([a-z0-9][a-z0-9_-]*) ([A-Za-z0-9+/=]+) ([A-Za-z0-9+/=]+)")


class KitError(Exception):
    """There is nothing that a kit could be made of; the message says what to do, and no value."""


def kit_of(host: str, answer: str) -> dict[str, Any]:
    """Return the kit of ``host`` from its answer to `QUESTION`."""
    lines = answer.split("\n")
    try:
        settings, password, environment = (
            b64decode(line, validate=True).decode() for line in lines[: len(_FILES)]
        )
        repository = json.loads(settings)["repository"] if settings else ""
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise KitError(f"{host}: {_FILES[0]} cannot be read: run site.yml") from None
    if not repository or not password:
        raise KitError(f"{host} has no settings of backups yet: run site.yml, which brings them")
    rest = [line.strip() for line in lines[len(_FILES) :]]
    owners = (_OWNER.fullmatch(line) for line in rest)
    encrypted = {
        found[1]: {"key": _text(found[2]), "gocryptfs.conf": _text(found[3])}
        for found in map(_ENCRYPTED.fullmatch, rest)
        if found
    }
    return {
        "host": host,
        "repository": repository,
        "environment": dict(
            line.split("=", 1)
            for line in environment.splitlines()
            if "=" in line and not line.startswith("#")
        ),
        "password": password,
        "stacks": {owner[2]: {"user": owner[1]} for owner in owners if owner},
        **({"encrypted": encrypted} if encrypted else {}),
    }


def _text(encoded: str) -> str:
    return b64decode(encoded).decode("utf-8", "replace")
