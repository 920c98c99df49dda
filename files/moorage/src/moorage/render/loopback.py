"""Ports on 127.0.0.1 behind the edge: fixed for as long as nothing collides.

A port follows from the name of what listens there, so that another stack or service on the host
moves nobody; only where two names fall on one port does the later one, in sorted order, step on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from zlib import crc32

FIRST, COUNT = 20000, 10000


def loopback_name(stack: str, service: str, replica: int, slot: str, target: int) -> str:
    """The name of one port: of a container's port `target` in one slot of one replica."""
    return f"{stack}/{service}/{replica}/{slot}/{target}"


def assign(names: Iterable[str], taken: Collection[int] = ()) -> dict[str, int]:
    """Give each name a port from 20000 to 29999 that is not in `taken`.

    Raises ValueError when there are more names than ports.
    """
    used = {port for port in taken if FIRST <= port < FIRST + COUNT}
    found: dict[str, int] = {}
    for name in sorted(set(names)):
        if len(used) == COUNT:
            raise ValueError(f"no port is left on 127.0.0.1 for {name}")
        offset = crc32(name.encode()) % COUNT
        while FIRST + offset in used:
            offset = (offset + 1) % COUNT
        found[name] = FIRST + offset
        used.add(FIRST + offset)
    return found
