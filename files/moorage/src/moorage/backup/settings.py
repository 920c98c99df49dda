"""How this host keeps its backups: what the role `backup` has written for root alone."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from moorage.backup.faults import BackupError
from moorage.common.readers import Damaged, read_bytes, read_object
from moorage.common.shape import make
from moorage.release.names import BACKUP_STATE

SETTINGS = Path("/opt/moorage/backup/settings.json")
PASSWORD = Path("/opt/moorage/keys/backup.password")
CACHE = Path("/var/cache/moorage/backup")
# What is known of a stack's backups beside them: which one was proven, when pruning was last done.
STATE = Path(BACKUP_STATE)
_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_MEND = "run site.yml: the role backup writes it"


@dataclass(frozen=True)
class Keep:
    """How many backups stay: the newest ones, and one for each of so many days, weeks, months."""

    last: int = 3
    daily: int = 7
    weekly: int = 4
    monthly: int = 6


@dataclass(frozen=True)
class Override:
    """What a stack has otherwise than the host."""

    keep: Mapping[str, int] = field(default_factory=dict)
    prove_application: bool | None = None


@dataclass(frozen=True)
class Settings:
    """Where backups go, how long they stay, and whether a proof starts the application.

    ``environment_file`` holds what the repository's backend wants in its environment, one
    KEY=VALUE a line; it never shows in a message.
    """

    repository: str
    environment_file: str | None = None
    keep: Keep = Keep()
    prove_application: bool = True
    stacks: Mapping[str, Override] = field(default_factory=dict)

    def keep_of(self, stack: str) -> Keep:
        """Return how many backups of a stack stay; raises BackupError where that is none."""
        own = self.stacks.get(stack, Override()).keep
        try:
            keep = make(Keep, {**asdict(self.keep), **own}, strict=True)
        except ValueError as trouble:
            raise BackupError(f"{SETTINGS}: stacks.{stack}.keep.{trouble}") from None
        if not any(count > 0 for count in asdict(keep).values()):
            raise BackupError(f"{SETTINGS}: keep: no backup of {stack} would stay; write last: 3")
        return keep

    def prove_application_of(self, stack: str) -> bool:
        """Tell whether a proof of the stack's backups starts its application."""
        own = self.stacks.get(stack, Override()).prove_application
        return self.prove_application if own is None else own

    def environment(self) -> dict[str, str]:
        """Return what restic finds in its environment, credentials included."""
        found = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/root"),
            "RESTIC_REPOSITORY": self.repository,
            "RESTIC_PASSWORD_FILE": str(PASSWORD),
            "RESTIC_CACHE_DIR": str(CACHE),
            # Else it writes sixty lines a second of how far it has come.
            "RESTIC_PROGRESS_FPS": "0.01",
        }
        if self.environment_file:
            _require_secret(path := Path(self.environment_file))
            found |= _assignments(path)
        return found


def read_settings() -> Settings:
    """Return the host's settings; raises BackupError where there are none, or odd ones."""
    try:
        given = read_object(SETTINGS)
        settings = None if given is None else make(Settings, given, strict=True)
    except (Damaged, ValueError) as trouble:
        raise BackupError(f"{SETTINGS} cannot be used: {trouble}; {_MEND}") from None
    if settings is None:
        raise BackupError(f"this host makes no backups yet: there is no {SETTINGS}; {_MEND}")
    _require_secret(PASSWORD)
    return settings


def _require_secret(path: Path) -> None:
    """Refuse a secret that others than root can read, or that is not there."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise BackupError(
            f"{path} is not there, without which no backup can be read: put it back from the "
            f"recovery kit. Only where there are no backups yet, {_MEND}"
        ) from None
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        mends = f"chown root: {path}; chmod 0600 {path}"
        raise BackupError(f"{path} is not a file of root's alone, as a secret has to be: {mends}")


def _assignments(path: Path) -> dict[str, str]:
    found = {}
    text = (read_bytes(path) or b"").decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(line.strip())
        if match is None:
            # Not the line itself: it may be a password.
            raise BackupError(f"{path}: line {number} is no assignment: write KEY=VALUE")
        found[match[1]] = match[2].strip("\"'")
    return found
