"""How often something may be tried: counters in the database that end by themselves."""

import hashlib
import hmac
import ipaddress
import time

from chatbot.db import Database

_COUNT = """
INSERT INTO limits (bucket, count, until) VALUES (%s, 1, %s) ON CONFLICT (bucket) DO UPDATE SET
  count = CASE WHEN limits.until <= %s THEN 1 ELSE limits.count + 1 END,
  until = CASE WHEN limits.until <= %s THEN excluded.until ELSE limits.until END
RETURNING count
"""


class Limits:
    """Counts tries. Buckets are kept as keyed hashes: the tables know no address."""

    def __init__(self, database: Database, key: str) -> None:
        """Count in this database; `key` is secret."""
        self._database, self._key = database, key.encode()

    def _name(self, bucket: str) -> str:
        return hmac.new(self._key, bucket.encode(), hashlib.sha256).hexdigest()

    def count(self, bucket: str, seconds: int) -> int:
        """Count one try and return how many there were within `seconds` of the first."""
        now = time.time()
        with self._database.transaction() as connection:
            return int(connection.value(_COUNT, [self._name(bucket), now + seconds, now, now]))

    def take_back(self, bucket: str) -> None:
        """Do not count a try that was refused: knocking on would keep the door shut for ever."""
        self._database.run(
            "UPDATE limits SET count = count - 1 WHERE bucket = %s AND count > 0",
            [self._name(bucket)],
        )

    def forget(self, *buckets: str) -> None:
        """Begin anew."""
        for bucket in buckets:
            self._database.run("DELETE FROM limits WHERE bucket = %s", [self._name(bucket)])


def origin(address: str | None) -> str:
    """Return what an address is counted as: an IPv6 one as its network."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return address or "unknown"
    if parsed.version == 6:
        # Whoever has one address of a /64 has all of them.
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return str(parsed)
