"""Finding and ending what a service leaves behind, whatever it did to hide."""

from __future__ import annotations

import os
import signal

from process_supervisor.common import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from process_supervisor.common.loop import EventLoop, Timer

FREEZE_ROUNDS = 50
LISTINGS = 50
FIRST_LOOK, LAST_LOOK = 0.002, 0.1


def members(candidates: Iterable[int], mark: int) -> list[int]:
    """Return the living processes among candidates that carry a marker."""
    found = []
    for pid in candidates:
        if procfs.marker(pid) == mark:
            facts = procfs.stat(pid)
            if facts is not None and facts.state not in "ZX":
                found.append(pid)
    return found


def remaining(listing: Callable[[], list[int]], mark: int) -> list[int]:
    """Return the living processes that carry a marker, of those that listing() returns.

    The kernel leaves out some while others end (proc(5), children), and who was listed may fork and
    end before it is looked at. So that there is none is believed of two listings in a row that are
    the same and of which nobody was reaped meanwhile: the second is complete, and the first was
    looked at. Bounded: without a guardian, others never stop coming and going.
    """
    before: list[int] | None = None
    for _ in range(LISTINGS):
        listed = listing()
        complete = listed == before and all(map(procfs.exists, listed))
        found = members(listed, mark)
        if found or complete:
            return found
        before = listed
    return []


def families(listing: Callable[[], list[int]]) -> set[int]:
    """Return the markers of what listing() returns, none of which is missing, as in `remaining`."""
    before: list[int] | None = None
    found: set[int] = set()
    for _ in range(LISTINGS):
        listed = listing()
        complete = listed == before and all(map(procfs.exists, listed))
        found.update(map(procfs.marker, listed))
        if complete:
            break
        before = listed
    return found


def send(pids: Iterable[int], number: int) -> None:
    """Send a signal to each process that still exists and is ours to signal."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def kill_all(look: Callable[[], list[int]]) -> list[int]:
    """Kill every process that look() finds and return them.

    They are frozen first, round by round until no new one appears: killed one by one, a fork bomb
    would be faster than the killing.
    """
    frozen: set[int] = set()
    for _ in range(FREEZE_ROUNDS):
        new = [pid for pid in look() if pid not in frozen]
        if not new:
            break
        send(new, signal.SIGSTOP)
        frozen.update(new)
    send(frozen, signal.SIGKILL)
    return list(frozen)


class Cleanup:
    """Ends leftovers and then calls done(); looks again until nothing is left.

    With `until` (loop time) they first get the polite signal and that long; else SIGKILL at once.
    """

    def __init__(
        self,
        loop: EventLoop,
        look: Callable[[], list[int]],
        done: Callable[[], None],
        polite: int | None = None,
        until: float = 0.0,
    ) -> None:
        self._loop = loop
        self._look = look
        self._done = done
        self._until = until
        self._pause = FIRST_LOOK
        self._timer: Timer | None = None
        self.found = 0
        if polite is not None and loop.time() < until:
            left = look()
            send(left, polite)
            self.found = len(left)
        self._round()

    @property
    def pending(self) -> bool:
        """Whether something is left and done() is still to come."""
        return self._timer is not None

    def hurry(self) -> None:
        """Grant no more time."""
        self._until = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._round()

    def _round(self) -> None:
        left = self._look() if self._loop.time() < self._until else kill_all(self._look)
        self.found = max(self.found, len(left))
        if not left:
            self._timer = None
            self._done()
            return
        self._timer = self._loop.call_later(self._pause, self._round)
        self._pause = min(self._pause * 2, LAST_LOOK)
