"""Who may sign in to a panel that runs by itself, and how often somebody may guess.

The password file holds either one line, the password of one user, or a line `NAME:HASH` for each
user, with the hash that `python3 -m moorage.panel hash NAME` prints (scrypt). It is read again
when it has changed.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from werkzeug.security import check_password_hash, generate_password_hash

from moorage.common.files import write_atomically

NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_LINE = re.compile(rf"({NAME.pattern}):(scrypt:\S+)")
_SHORTEST = 8
_LONGEST = 1024


class AccountError(Exception):
    """The password file cannot be used; the text says why and what to do."""


def hash_password(password: str) -> str:
    """Return the scrypt hash of a password; raises AccountError when it is no good one."""
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise AccountError(f"a password has {_SHORTEST} to {_LONGEST} characters")
    return generate_password_hash(password, method="scrypt")


class Accounts:
    """The users of one password file. Safe to share between threads."""

    def __init__(self, path: Path, user: str) -> None:
        """Read the file; a file that holds one password is about `user`."""
        if not NAME.fullmatch(user):
            raise AccountError(f"{user!r} is not a user's name")
        self._path = path
        self._user = user
        self._lock = threading.Lock()
        # One at a time: each takes 32 MB for a moment.
        self._checking = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._hashes: dict[str, str] = {}
        self._epochs: dict[str, str] = {}
        self._dummy = hash_password(secrets.token_urlsafe())
        self._key = secrets.token_bytes()
        self._load()

    def key(self, key: bytes) -> None:
        """Derive the epochs from the application's key, so that they outlive a restart."""
        with self._lock:
            self._key, self._seen = key, None

    def verify(self, name: str, password: str) -> bool:
        """Say whether this is the user's password; an unknown name takes as long as a known one."""
        with self._lock:
            self._refresh()
            stored = self._hashes.get(name)
        with self._checking:
            right = check_password_hash(stored or self._dummy, password[:_LONGEST])
        return right and stored is not None

    def epoch(self, name: str) -> str | None:
        """Return what changes with the user's password; None for nobody."""
        with self._lock:
            self._refresh()
            return self._epochs.get(name)

    def _refresh(self) -> None:
        try:
            self._load()
        except AccountError:
            # Half-way through a change: nobody new gets in meanwhile, and nobody is thrown out.
            return

    def _load(self) -> None:
        try:
            found = os.stat(self._path)
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen == self._seen:
                return
            if stat.S_IMODE(found.st_mode) & 0o007:
                raise AccountError(f"{self._path} is open to every user: chmod 600 {self._path}")
            text = self._path.read_text(encoding="utf-8")
        except OSError as error:
            raise AccountError(f"{self._path}: {error.strerror or error}") from error
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        self._hashes = self._parse(lines)
        self._epochs = _epochs(self._key, lines, self._user)
        self._seen = seen

    def _parse(self, lines: list[str]) -> dict[str, str]:
        found = [_LINE.fullmatch(line) for line in lines]
        if lines and all(found):
            return {match[1]: match[2] for match in found if match}
        if len(lines) != 1:
            raise AccountError(
                f"{self._path} holds one password, or lines NAME:HASH as "
                "`python3 -m moorage.panel hash NAME` prints them"
            )
        return {self._user: hash_password(lines[0])}


def _epochs(key: bytes, lines: Iterable[str], user: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        match = _LINE.fullmatch(line)
        digest = hmac.new(key, b"epoch\0" + line.encode(), hashlib.sha256)
        found[match[1] if match else user] = digest.hexdigest()[:32]
    return found


class EndedSessions:
    """Sessions that were signed out of: a copy of their cookie is worth nothing.

    They are kept in a file beside the key that cookies are signed with, which outlives a restart
    as well; without one in memory, as then no cookie outlives it. Safe to share between threads.
    """

    def __init__(self, path: Path | None, seconds: float) -> None:
        """Keep each for `seconds`, after which its cookie has expired by itself."""
        self._path = path
        self._seconds = seconds
        self._lock = threading.Lock()
        self._ended = {number: until for number, until in self._read() if until > time.time()}
        self._write()

    def end(self, number: str) -> None:
        """End a session everywhere; raises OSError when that cannot be written down."""
        with self._lock:
            now = time.time()
            self._ended[number] = now + self._seconds
            self._ended = {n: until for n, until in self._ended.items() if until > now}
            self._write()

    def __contains__(self, number: object) -> bool:
        """Say whether the session was ended."""
        with self._lock:
            return number in self._ended

    def _read(self) -> Iterator[tuple[str, float]]:
        try:
            text = self._path.read_text(encoding="utf-8") if self._path else ""
        except FileNotFoundError:
            return
        for line in text.splitlines():
            number, _, until = line.partition(" ")
            if until.isdecimal():
                yield number, float(until)

    def _write(self) -> None:
        if self._path is None:
            return
        text = "".join(f"{number} {until:.0f}\n" for number, until in self._ended.items())
        write_atomically(self._path, text, 0o600)


class Limiter:
    """Counts attempts in a sliding window; in memory, as one process serves the panel."""

    def __init__(
        self,
        limit: int,
        window: float,
        *,
        most: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Allow `limit` attempts within `window` seconds for each of at most `most` callers."""
        self._limit = limit
        self._window = window
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """Note an attempt; return 0, or the seconds until there may be another one.

        A refused attempt is not noted, else knocking on would keep the door shut for ever.
        """
        now = self._clock()
        with self._lock:
            attempts = self._seen.setdefault(caller, deque())
            self._seen.move_to_end(caller)
            if len(self._seen) > self._most:
                self._seen.popitem(last=False)
            while attempts and attempts[0] <= now - self._window:
                attempts.popleft()
            if len(attempts) >= self._limit:
                return attempts[0] + self._window - now
            attempts.append(now)
            return 0.0

    def forget(self, caller: str) -> None:
        """Start anew: the right password was given."""
        with self._lock:
            self._seen.pop(caller, None)
