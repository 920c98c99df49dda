"""Locks: one rollout of a stack at a time, and the reader learns who holds it and for what.

A lock is an ``flock``: the kernel gives it back when its holder dies, however it dies, so that
a lost connection or a killed process never leaves a stack locked. The note inside the file only
informs. What a controller holds for longer than one process on this host is a reservation
(`moorage.deploy.reservation`).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from moorage.common.readers import Damaged, read_note

_POLL_SECONDS = 0.1


class Locked(Exception):
    """Somebody else holds the lock; the message says who, since when and for what."""


def moment(seconds: float) -> str:
    """Return Unix seconds as a person reads them, with the zone."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))
    except (OSError, OverflowError, ValueError):
        return "an unknown time"


def is_held(path: Path) -> bool:
    """Tell whether somebody holds the lock, without taking it: a note alone outlives its writer.

    Reads /proc/locks (proc_locks(5)), which names a file by device and inode; the device is that of
    the file system and not always the one that stat shows.
    """
    try:
        inode = str(path.stat().st_ino)
    except FileNotFoundError:
        return False
    # 1: FLOCK  ADVISORY  WRITE 4711 fe:01:131214 0 EOF
    held = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return any(w[1] == "FLOCK" and w[5].rpartition(":")[2] == inode for w in held if len(w) > 5)


@contextmanager
def hold(path: Path, purpose: str, who: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock at ``path`` for as long as the block runs.

    Waits up to ``wait_seconds`` for another holder. Raises Locked when that was in vain.
    """
    fd = open_lock(path, 0o644)
    try:
        _acquire(fd, path, time.monotonic() + wait_seconds)
        note = {"pid": os.getpid(), "who": who, "purpose": purpose, "since": round(time.time(), 3)}
        # It only informs: whoever holds the lock of a full disk says more of that.
        with suppress(OSError):
            os.truncate(fd, 0)
            os.pwrite(fd, (json.dumps(note) + "\n").encode(), 0)
        try:
            yield
        finally:
            with suppress(OSError):
                os.truncate(fd, 0)
    finally:
        os.close(fd)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Keep everybody else away while the block runs, which takes moments only: nobody is told."""
    fd = open_lock(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def take(fd: int, *, shared: bool = False) -> bool:
    """Lock an open file without waiting; tell whether nobody else has it. It goes with ``fd``."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_lock(path: Path, mode: int = 0o600) -> int:
    """Open a file to be locked, made where it is not there; raises Damaged for what is none."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except OSError as trouble:
        if trouble.errno in (errno.ENOSPC, errno.EROFS, errno.EACCES):
            raise
        raise Damaged(path, f"{trouble.strerror}. Move it away: it is to be a file") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Damaged(path, "it is no file. Move it away")
    return fd


def _acquire(fd: int, path: Path, deadline: float) -> None:
    while True:
        if take(fd):
            return
        if time.monotonic() >= deadline:
            raise Locked(_describe(path))
        time.sleep(_POLL_SECONDS)


def _describe(path: Path) -> str:
    note = read_note(path)
    try:
        since = moment(float(note["since"]))
    except (KeyError, TypeError, ValueError):
        return f"{path} is held by another process; wait for it, or see `fuser -v {path}`"
    return (
        f"{note.get('who')} holds the lock since {since} for: {note.get('purpose')} "
        f"(pid {note.get('pid')}); "
        f"wait for it, or end that process: the lock goes with it"
    )
