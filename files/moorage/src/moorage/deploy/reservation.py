"""The reservation of a stack: a controller keeps a whole update together, from survey to receipt.

The ``flock`` of `moorage.common.lock` guards one process on this host. An update is longer than
that: it ships files, builds images, then starts the rollout. A note on the disk holds the stack for
that time. It names its holder, so that a run which died without a word can be told from a colleague
at work: the same controller takes over from its own dead process, everybody from a dead process of
this host, and anybody else is told how to break it.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from moorage.common.claim import is_gone
from moorage.common.files import discard, write_atomically
from moorage.common.lock import Locked, exclusive, moment
from moorage.common.readers import Damaged, read_object
from moorage.common.shape import make
from moorage.release.layout import Layout

# After that long without a sign of its holder, a reservation is called stale.
LIFETIME_SECONDS = 900.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Reservation:
    """Who holds a stack. ``started`` is when the holder's process did, in Unix seconds.

    ``token`` is what the holder shows; ``since`` and ``expires`` are Unix seconds by this host's
    clock. ``pid`` is the process on the machine ``controller``, counted as ``machine`` tells: which
    boot of it, and which of its PID namespaces.
    """

    who: str
    controller: str
    pid: int
    started: float
    purpose: str
    machine: str = ""
    token: str = ""
    since: float = 0.0
    expires: float = 0.0

    @classmethod
    def parse(cls, fields_given: Mapping[str, Any]) -> Reservation:
        """Return the reservation that these fields describe; raises ValueError."""
        return make(cls, fields_given)

    def to_dict(self) -> dict[str, Any]:
        """Return the reservation as plain data."""
        return asdict(self)

    def stale(self) -> bool:
        """Whether its holder has not been heard of for longer than a reservation lives."""
        return time.time() >= self.expires

    def gone(self) -> bool:
        """Whether its holder was a process of this host, and is none any more."""
        return is_gone(self.to_dict())

    def describe(self, stack: str) -> str:
        """Say who holds the stack, since when, for what, and how to get it."""
        where = f"pid {self.pid} on {self.controller}" if self.pid > 0 else f"on {self.controller}"
        holder = f"{self.who} ({where})"
        text = f"{holder} holds {stack} since {moment(self.since)} for: {self.purpose}; "
        breaking = f"`moorage unlock {stack}` on the host, or `-e break_lock=true`"
        if self.stale():
            return (
                f"{text}stale since {moment(self.expires)}: that run was probably lost. "
                f"When it is not at work any more, break it: {breaking}"
            )
        return f"{text}wait for it. Only when that run is lost, break it: {breaking}"


class Reserved(Locked):
    """Somebody else has reserved the stack; ``holder`` tells who, the message all of it."""

    def __init__(self, holder: Reservation, stack: str) -> None:
        self.holder = holder
        super().__init__(holder.describe(stack))


def read_reservation(layout: Layout) -> Reservation | None:
    """Return the reservation of the stack, or None; one that cannot be read counts as none."""
    try:
        return Reservation.parse(read_object(_path(layout)) or {})
    except (Damaged, ValueError):
        return None


def reserve(
    layout: Layout,
    claim: Reservation,
    *,
    instead_of: str = "",
    by_force: bool = False,
    wait_seconds: float = 0.0,
) -> Reservation:
    """Reserve the stack for ``claim`` and return the reservation with its token.

    ``instead_of`` is the token of a reservation whose holder is known to be dead: that one, and no
    other, is replaced. Waits up to ``wait_seconds`` for another holder, then raises Reserved.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        with _guard(layout):
            holder = read_reservation(layout)
            mine = holder is not None and holder.token in (instead_of, claim.token)
            if holder is None or by_force or mine or holder.gone():
                return _write(layout, claim)
        if time.monotonic() >= deadline:
            raise Reserved(holder, layout.stack)
        time.sleep(_POLL_SECONDS)


def admit(layout: Layout, token: str = "") -> None:
    """Raise Reserved unless the stack is free, or reserved under ``token``.

    Who shows the token is heard of: the reservation lives on from now.
    """
    with _guard(layout):
        holder = read_reservation(layout)
        if holder is None or (holder.token != token and holder.gone()):
            return
        if not token or holder.token != token:
            raise Reserved(holder, layout.stack)
        # On a full disk it lives on as it was; whoever works under it says more of that.
        with suppress(OSError):
            _write(layout, holder)


def give_back(layout: Layout, token: str) -> bool:
    """End the reservation that ``token`` belongs to; tell whether it was there."""
    with _guard(layout):
        holder = read_reservation(layout)
        if holder is None or not token or holder.token != token:
            return False
        _path(layout).unlink()
        return True


def break_reservation(layout: Layout) -> Reservation | None:
    """End whatever reservation there is and return it."""
    with _guard(layout):
        holder = read_reservation(layout)
        discard(_path(layout))
        return holder


def _write(layout: Layout, claim: Reservation) -> Reservation:
    now = round(time.time(), 3)
    made = replace(
        claim,
        token=claim.token or secrets.token_hex(16),
        since=claim.since or now,
        expires=round(now + LIFETIME_SECONDS, 3),
    )
    # Root only: who has the token may roll out.
    write_atomically(_path(layout), json.dumps(made.to_dict()) + "\n", 0o600)
    return made


def _path(layout: Layout) -> Path:
    return layout.base / ".reservation.json"


@contextmanager
def _guard(layout: Layout) -> Iterator[None]:
    # Held for moments only, so nobody waits long and a dead process leaves nothing behind.
    with exclusive(layout.base / ".reservation.lock"):
        yield
