"""The services as they change: asked for once for all who look on, and sent as events.

One thread asks the backend while anybody looks and ends with the last of them, so ten open pages
cost the backend what one does, and none cost it nothing.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from moorage.control import ControlBackend, ControlError, ServiceStatus
from moorage.control.contract import Announces
from moorage.panel.stream import MAX_SECONDS, ending, message

# A sample of CPU and memory each: 150 of them are the five minutes that a page draws.
INTERVAL = 2.0
# Events may come in hundreds a second; a page needs not more than this.
_SHORTEST = 0.25


@dataclass(frozen=True)
class Snapshot:
    """What the backend said last, or why it could not; `number` grows by one with each."""

    number: int
    services: tuple[ServiceStatus, ...] = ()
    problem: ControlError | None = None
    # The last event's sequence number: a page that lists events asks anew when it has changed.
    event: int = 0


class Watcher:
    """Asks the backend for the services again and again while somebody subscribes."""

    def __init__(self, backend: ControlBackend, interval: float = INTERVAL) -> None:
        """Ask nothing yet."""
        self._backend = backend
        self._interval = interval
        self._changed = threading.Condition()
        self._subscribers = 0
        self._running = False
        self._poked = False
        self._latest = Snapshot(0)

    def subscribe(self) -> tuple[int, Callable[[], None]]:
        """Begin to ask, unless that is done already.

        Return the number after which snapshots are of now, and what ends the subscription.
        """
        with self._changed:
            self._subscribers += 1
            if self._running:
                # What was found last may be older than the page that is to be kept up to date.
                self._poked = True
                self._changed.notify_all()
            else:
                self._running = True
                threading.Thread(target=self._watch, name="panel-watch", daemon=True).start()
            return self._latest.number, self._unsubscribe

    def wait(self, number: int, timeout: float) -> Snapshot | None:
        """Return the latest snapshot once it is newer than this one; None after `timeout`."""
        with self._changed:
            self._changed.wait_for(lambda: self._latest.number > number, timeout)
            return self._latest if self._latest.number > number else None

    def poke(self) -> None:
        """Ask at once: something has just been done."""
        with self._changed:
            self._poked = True
            self._changed.notify_all()

    def _unsubscribe(self) -> None:
        with self._changed:
            self._subscribers -= 1
            self._changed.notify_all()

    def _watch(self) -> None:
        while True:
            begun = time.monotonic()
            found = self._ask()
            with self._changed:
                self._latest = found
                self._changed.notify_all()
            if isinstance(self._backend, Announces) and found.problem is None:
                self._listen(self._backend, found.event)
            with self._changed:
                spent = time.monotonic() - begun
                self._changed.wait_for(self._wanted, max(_SHORTEST, self._interval - spent))
                self._poked = False
                if not self._subscribers:
                    self._running = False
                    return

    def _wanted(self) -> bool:
        return self._poked or not self._subscribers

    def _listen(self, backend: Announces, event: int) -> None:
        try:
            backend.wait(event, self._interval)
        except ControlError:
            # The next question to it says what is wrong.
            return
        with self._changed:
            self._poked = True

    def _ask(self) -> Snapshot:
        number = self._latest.number + 1
        try:
            services = tuple(self._backend.services())
            events = self._backend.events(limit=1)
        except ControlError as error:
            return Snapshot(number, problem=error, event=self._latest.event)
        return Snapshot(number, services, None, events[-1].sequence if events else 0)


def status_events(
    watcher: Watcher,
    render: Callable[[Snapshot], Mapping[str, Any]],
    number: int,
    *,
    max_seconds: float = MAX_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[str]:
    """Give an event `services` for each snapshot after this one."""
    end = clock() + max_seconds
    yield "retry: 2000\n\n"
    while not ending() and clock() < end:
        found = watcher.wait(number, 1.0)
        if found is None:
            # A comment: it finds out whether the reader is still there.
            yield ": alive\n\n"
            continue
        number = found.number
        yield message("services", render(found))
