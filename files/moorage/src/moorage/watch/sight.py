"""What runs of a stack, as its manager was asked last."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from moorage.common.readers import Damaged
from moorage.deploy.instance import Instance
from moorage.deploy.runtimes.base import RuntimeFault
from moorage.deploy.runtimes.native import Native
from moorage.deploy.runtimes.records import Record, read_records
from moorage.release.layout import Layout


@dataclass(frozen=True)
class Seen:
    """Instances and their records, by name, and when that was (seconds on the monotonic clock)."""

    instances: Mapping[str, Instance] = field(default_factory=dict)
    records: Mapping[str, Record] = field(default_factory=dict)
    at: float = float("-inf")


class Sight:
    """Asks the manager, and once for all who want to know. Safe to share between threads."""

    def __init__(self, layout: Layout, native: Native) -> None:
        """Ask nothing yet."""
        self._layout = layout
        self._native = native
        self._lock = threading.Lock()
        self._seen = Seen()

    def look(self, oldest: float = 0.0) -> Seen:
        """Return what there is, from so many seconds ago at most; raises RuntimeFault."""
        asked = time.monotonic()
        with self._lock:
            if self._seen.at < asked - oldest:
                # Noted as of before: what happens meanwhile is for the next look.
                began = time.monotonic()
                found = self._native.instances(self._layout.stack)
                instances = {instance.name: instance for instance in found}
                self._seen = Seen(instances, self._records(), began)
            return self._seen

    def _records(self) -> dict[str, Record]:
        try:
            return read_records(self._layout)
        except Damaged as damage:
            raise RuntimeFault(str(damage)) from None
