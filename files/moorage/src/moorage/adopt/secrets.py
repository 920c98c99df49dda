"""Find what looks like a secret in clear text, and say how it moves out of the files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from moorage.compose import Stack

_NAMES = re.compile(
    r"(?i)(?:^|[_.-])(?:pass|passwd|password|passphrase|secret|token|credentials?|salt|"
    r"(?:api|app|secret|private|encryption|signing|access|session|jwt|master)_?key)"
    r"(?:$|[_.\d-])"
)
# Says where a secret is, what it is like, or that there is none.
_NO_SECRETS = re.compile(r"(?i)_?(?:file|path|length|min|max|expiry|expires|ttl|enabled?|url)$")
# No start within a word: a long one would be gone through from each of its letters.
_IN_ADDRESS = re.compile(r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*+://[^/\s:@]*:([^/\s@]+)@")
_SWITCHES = {"true", "false", "yes", "no", "on", "off", "none", "null", "0", "1"}
# What images end in whose programs read NAME_FILE in place of NAME, and how such names begin.
_READ_FILES = {
    "postgres": ("POSTGRES_",),
    "mysql": ("MYSQL_",),
    "mariadb": ("MARIADB_", "MYSQL_"),
    "mongo": ("MONGO_INITDB_",),
    "wordpress": ("WORDPRESS_",),
    "nextcloud": ("MYSQL_", "POSTGRES_", "NEXTCLOUD_", "REDIS_"),
    "vaultwarden/server": ("",),
    "paperless-ngx": ("PAPERLESS_",),
    "n8n": ("",),
    "immich-server": ("DB_", "REDIS_"),
}


@dataclass(frozen=True)
class Found:
    """A secret in a service's environment, and where it stands; ``name`` is that of its value."""

    service: str
    variable: str
    name: str
    places: tuple[str, ...]
    reads_file: bool
    in_address: bool


def find_secrets(stack: Stack, directory: Path) -> Iterator[Found]:
    """Yield the secrets in the environment of a stack's services; no value is ever told.

    ``directory`` is where its files lie. A value that comes from a variable that the operator gives
    stands in no file, and is none.
    """
    texts, names = _texts(directory), dict[str, str]()
    for name, service in stack.services.items():
        for variable, value in service.environment.items():
            word = _secret_in(variable, value or "")
            if not word:
                continue
            places = tuple(
                f"{path}:{number}"
                for path, lines in texts.items()
                for number, line in enumerate(lines, 1)
                if word in line
            )
            if places:
                own = re.sub(r"\W", "_", f"{name}_{variable}").lower()
                # Whoever shares a value goes on to share it.
                yield Found(
                    name, variable, names.setdefault(word, own), places,
                    variable.startswith(_begins(service.image or "")), value != word,
                )  # fmt: skip


def _secret_in(variable: str, value: str) -> str:
    inside = _IN_ADDRESS.search(value)
    if inside:
        return inside[1]
    if not _NAMES.search(variable) or _NO_SECRETS.search(variable):
        return ""
    return "" if value.lower() in _SWITCHES or value.startswith("/run/secrets/") else value


def _begins(image: str) -> tuple[str, ...]:
    path = "/" + image.partition("@")[0]
    if ":" in path.rsplit("/", 1)[-1]:
        path = path.rpartition(":")[0]
    return next((begins for end, begins in _READ_FILES.items() if path.endswith(f"/{end}")), ())


def _texts(directory: Path) -> dict[str, list[str]]:
    found = {}
    for path in sorted((*directory.rglob("*.y*ml"), *directory.rglob("*.env*"))):
        if path.is_file() and path.stat().st_size < 1 << 20:
            text = path.read_text(encoding="utf-8", errors="replace")
            found[path.relative_to(directory.parent).as_posix()] = text.splitlines()
    return found
