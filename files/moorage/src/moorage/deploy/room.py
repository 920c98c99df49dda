"""Space on the disk that is kept for the end of a rollout: its link, its history, its receipt."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from moorage.deploy.release import ReleaseError

# A release's files, its history line and its receipt are some ten kilobytes.
_BYTES = 1 << 20


class Room:
    """A file below ``base`` that takes up what will be needed, until it is."""

    def __init__(self, base: Path) -> None:
        self._path = base / ".room"

    def take(self) -> None:
        """Take it; raises ReleaseError, with what is left, where there is not so much."""
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, _BYTES)
            finally:
                os.close(fd)
        except OSError as trouble:
            self.give()
            disk = os.statvfs(self._path.parent)
            left = disk.f_bavail * disk.f_frsize >> 10
            raise ReleaseError(
                f"{self._path.parent} has {left} KiB left ({trouble.strerror}), and a rollout "
                f"needs {_BYTES >> 10} KiB for its receipt and its history: make room, then run "
                f"it again"
            ) from None

    def give(self) -> None:
        """Give it back, for what it was kept for."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
