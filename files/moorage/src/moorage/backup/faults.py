"""What goes wrong with backups."""

from __future__ import annotations


class BackupError(Exception):
    """A backup cannot be made, found or restored; the message says why, and what to do."""


class NoRepository(BackupError):
    """There is no repository where one is to be."""
