"""Space on the disk that is kept for the end of a rollout: its link, its history, its receipt."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from moorage.deploy.release import ReleaseError

# A release's files, its history line and its receipt are some ten kilobytes, in half a dozen files.
_FILES, _BYTES = 8, 128 << 10


class Room:
    """Files below ``base`` that take up what will be needed, space and names, until it is."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._paths = [
            base / (f".room.{number}" if number else ".room") for number in range(_FILES)
        ]

    def take(self) -> None:
        """Take it; raises ReleaseError, with what is left, where there is not so much."""
        disk = os.statvfs(self._base)
        there = f"{disk.f_bavail * disk.f_frsize >> 10} KiB"
        try:
            for path in self._paths:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    # An older version kept all of it in one.
                    os.ftruncate(fd, 0)
                    os.posix_fallocate(fd, 0, _BYTES)
                finally:
                    os.close(fd)
        except OSError as trouble:
            if trouble.errno not in (errno.ENOSPC, errno.EDQUOT):
                self.give()
                raise ReleaseError(f"{path} cannot keep room: {trouble.strerror}") from None
            if disk.f_files and not os.statvfs(self._base).f_favail:
                there += " and no names for files"
            self.give()
            raise ReleaseError(
                f"{self._base} has {there} left ({trouble.strerror}), and a rollout "
                f"needs {_FILES * _BYTES >> 10} KiB in {_FILES} files for its receipt and its "
                f"history: make room, then run it again"
            ) from None

    def give(self) -> None:
        """Give it back, for what it was kept for."""
        for path in self._paths:
            with suppress(OSError):
                path.unlink(missing_ok=True)
