"""What every work on backups of a stack needs, and who else is kept away meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from moorage.backup.restic import Restic
from moorage.backup.settings import Settings
from moorage.common.claim import claim
from moorage.common.lock import hold
from moorage.deploy.drivers.base import Driver, FindDriver
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release
from moorage.deploy.reservation import Reservation, admit, give_back, reserve
from moorage.edge.core import Edge
from moorage.release.layout import Layout
from moorage.release.names import NEXT

_HEARD_SECONDS = 60.0


@dataclass(frozen=True)
class Work:
    """One stack on this host, the repository, and where progress is told, a line each."""

    layout: Layout
    settings: Settings
    restic: Restic
    find_driver: FindDriver
    edge: Edge
    tell: Callable[[str], None]

    def driver(self, release: Release) -> Driver:
        """Return the driver of the release's topology."""
        return self.find_driver(release.topology, self.layout)


@contextmanager
def keep_others_away(
    layout: Layout, purpose: str, wait_seconds: float = 0.0
) -> Iterator[Callable[[], None]]:
    """Keep updates of the stack away while the block runs; raises Reserved or Locked.

    Waits so long for who is at work already.

    Nothing is left of a process that is killed. The block calls what it is given now and then, so
    that whoever asks learns that it is at work.
    """
    mine = Reservation.parse(claim(purpose, os.getpid()))
    made = reserve(layout, mine, wait_seconds=wait_seconds)
    heard = time.monotonic()

    def be_heard() -> None:
        nonlocal heard
        if time.monotonic() - heard > _HEARD_SECONDS:
            heard = time.monotonic()
            admit(layout, made.token)

    try:
        with hold(layout.lock, purpose, made.who, wait_seconds):
            yield be_heard
    finally:
        give_back(layout, made.token)


def running_instance(
    release: Release, service: str, instances: dict[str, Instance]
) -> Instance | None:
    """Return the running instance in which a service is, None when there is none."""
    homes = {unit.name for unit in release.manifest.units if unit.serves(service)}
    return next(
        (
            i
            for i in instances.values()
            if i.state == "running" and i.name in homes and not i.name.endswith(NEXT)
        ),
        None,
    )


def sized(count: int) -> str:
    """Return a number of bytes as a person says it."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
