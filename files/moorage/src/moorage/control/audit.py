"""Who asked for what, when and with what result: JSON lines that are only ever appended to."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping

from moorage.control.contract import ControlError


class Bucket:
    """A rate limit: `burst` at once, and `rate` a second in the long run."""

    def __init__(
        self, burst: float, rate: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin full."""
        self._burst = burst
        self._rate = rate
        self._clock = clock
        self._left = burst
        self._at = clock()
        self._lock = threading.Lock()

    def take(self) -> float:
        """Take one; return 0, or the seconds until there is one."""
        with self._lock:
            now = self._clock()
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left >= 1:
                self._left -= 1
                return 0.0
            return (1 - self._left) / self._rate


class Audit:
    """The audit log. Safe to share between threads.

    It may be moved away at any time (logrotate without `copytruncate`): each line goes to what is
    at the path then. Refused requests are noted too, but not faster than `refusals` allows, so
    that a flood of them does not fill the disk; how many were left out stands in the next line.
    """

    def __init__(self, path: str | None, refusals: Bucket | None = None) -> None:
        """Open it; without a path the lines go to standard error, that is to the journal."""
        self._path = path
        self._lock = threading.Lock()
        self._refusals = refusals or Bucket(60, 2)
        self._left_out = 0
        self._fd = 2 if path is None else -1
        if path is not None:
            self._reopen(path)

    def check(self) -> None:
        """Raise ControlError when an action could not be noted: it is not done then."""
        with self._lock:
            try:
                self._follow_rotation()
            except OSError as error:
                raise ControlError(
                    "audit_unavailable", f"the audit log cannot be written: {error}", status=503
                ) from None

    def note(self, **facts: object) -> None:
        """Append a line; a failure is said on standard error, as the deed is done already."""
        entry = {"at": round(time.time(), 3), **facts}
        if self._left_out:
            entry["left_out"], self._left_out = self._left_out, 0
        line = json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"
        with self._lock:
            try:
                self._follow_rotation()
                os.write(self._fd, line)
            except OSError as error:
                print(f"audit log: {error}: {line.decode('ascii')}", file=sys.stderr, end="")

    def refused(self, peer: Mapping[str, int | str], request: str, error: ControlError) -> None:
        """Note a request that was not even tried."""
        if self._refusals.take():
            self._left_out += 1
            return
        self.note(
            peer=dict(peer),
            request=request,
            result="denied",
            status=error.status,
            code=error.code,
            detail=error.detail,
        )

    def _follow_rotation(self) -> None:
        if self._path is None:
            return
        try:
            there = os.stat(self._path)
            ours = os.fstat(self._fd)
        except FileNotFoundError:
            self._reopen(self._path)
            return
        if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            self._reopen(self._path)

    def _reopen(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(path, flags, 0o640)
        if self._fd > 2:
            os.close(self._fd)
        self._fd = fd
