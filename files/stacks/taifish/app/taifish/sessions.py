"""Who is signed in: a hash for each account in Redis, from a session's number to what it is worth.

The cookie holds account and number, signed. The hashes have no time to live, since `volatile-lru`
evicts what has one: a full cache must sign nobody out. So the time stands in the value.
"""

import secrets
import time

from taifish import jobs
from taifish.config import SESSIONS, Config

SECONDS = 12 * 3600
# Of one account at a time, so that nobody fills the memory by signing in.
_MOST = 20


class Sessions:
    """Sessions of accounts. Everything raises redis.RedisError while Redis is away."""

    def __init__(self, config: Config) -> None:
        """Connect to nothing yet."""
        self._redis = jobs.connect(config, SESSIONS)

    def open(self, user: int, mark: str) -> str:
        """Begin a session and return its number; `mark` is of the password it was opened with."""
        key, now = f"sessions:{user}", int(time.time())
        since = {
            sid: int(value.partition(" ")[0]) for sid, value in self._redis.hgetall(key).items()
        }
        old = [sid for sid, at in since.items() if now - at > SECONDS]
        fresh = sorted((sid for sid in since if sid not in old), key=lambda sid: since[sid])
        old += fresh[: max(0, len(fresh) - _MOST + 1)]
        if old:
            self._redis.hdel(key, *old)
        number = secrets.token_urlsafe(24)
        self._redis.hset(key, number, f"{now} {mark}")
        return number

    def mark(self, user: int, number: str) -> str:
        """Return the mark of an open session; "" when there is none."""
        value = self._redis.hget(f"sessions:{user}", number) or "0 "
        since, _, mark = value.partition(" ")
        return mark if time.time() - int(since) <= SECONDS else ""

    def end(self, user: int) -> None:
        """End all sessions of an account: a copied cookie too."""
        self._redis.delete(f"sessions:{user}")

    def drop_expired(self) -> None:
        """Forget sessions whose time is over."""
        for key in self._redis.scan_iter("sessions:*", count=500):
            values = self._redis.hgetall(key).items()
            old = [n for n, v in values if time.time() - int(v.partition(" ")[0]) > SECONDS]
            if old:
                self._redis.hdel(key, *old)
