"""What may be forgotten: every key has a time to live, so that volatile-lru can evict it."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import redis

from taifish import jobs
from taifish.config import CACHE, Config


class Cache:
    """Remembers lists of rows. While Redis is away nothing is remembered, and all goes on."""

    def __init__(self, config: Config) -> None:
        """Connect to nothing yet."""
        self._redis = jobs.connect(config, CACHE)

    def remember(self, key: str, seconds: int, make: Callable[[], Any]) -> Any:
        """Return what was made at most `seconds` ago; times come back as ISO 8601 text."""
        try:
            found = self._redis.get(key)
        except redis.RedisError:
            return make()
        if found is not None:
            return json.loads(found)
        made = make()
        with contextlib.suppress(redis.RedisError):
            self._redis.set(key, json.dumps(made, default=str), ex=seconds)
        return made

    def forget(self, *keys: str) -> None:
        """Have them made anew."""
        # They end by themselves within seconds.
        with contextlib.suppress(redis.RedisError):
            self._redis.delete(*keys)
