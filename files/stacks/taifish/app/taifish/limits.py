"""How often something may be tried: counters in Redis that end by themselves."""

from typing import Any

from taifish import jobs
from taifish.config import SESSIONS, Config

_TAKE_BACK = """
if tonumber(redis.call('get', KEYS[1]) or 0) > 0 then redis.call('decr', KEYS[1]) end
"""


class Limits:
    """Counts tries. Everything raises redis.RedisError while Redis is away."""

    def __init__(self, config: Config) -> None:
        """Connect to nothing yet."""
        self._redis: Any = jobs.connect(config, SESSIONS)

    def count(self, bucket: str, seconds: int) -> int:
        """Count one try and return how many there were within `seconds` of the first."""
        with self._redis.pipeline(transaction=True) as pipe:
            # With a time to live from the beginning: a counter without one would stay for ever.
            pipe.set(f"limit:{bucket}", 0, ex=seconds, nx=True)
            pipe.incr(f"limit:{bucket}")
            return int(pipe.execute()[1])

    def take_back(self, bucket: str) -> None:
        """Do not count a try that was refused: knocking on would keep the door shut for ever."""
        # Not below zero, and nothing that has ended comes back: that would never end.
        self._redis.eval(_TAKE_BACK, 1, f"limit:{bucket}")

    def forget(self, *buckets: str) -> None:
        """Begin anew."""
        self._redis.delete(*(f"limit:{bucket}" for bucket in buckets))
