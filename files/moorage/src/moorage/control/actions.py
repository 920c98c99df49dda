"""Actions on containers: each in a thread of its own, whoever waits for it or not.

A container may take as long to end as its grace period says, hours if need be; who asked is
answered before that, and then the status tells how far it is.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from moorage.control.contract import Action, ControlError, ServiceStatus, State
from moorage.control.pool import Pool

# As many at a time, and as many that wait for their turn.
_AT_ONCE, _WAITING = 16, 256
_WORDS: dict[Action, str] = {"start": "started", "stop": "stopped", "restart": "restarted"}


@dataclass
class Running:
    """One that is under way; times in seconds, `begun` on the monotonic clock."""

    action: Action
    pid: int | None
    grace: float
    begun: float = field(default_factory=time.monotonic)
    ended: threading.Event = field(default_factory=threading.Event)
    trouble: ControlError | None = None
    left: bool = False

    def describe(self) -> str:
        """Say how far it is."""
        spent = f"being {_WORDS[self.action]} for {time.monotonic() - self.begun:.0f} s"
        return spent if self.action == "start" else f"{spent}, may take {self.grace:.0f} s to end"


class Actions:
    """What is being done to services; at most one thing to each. Safe to share between threads."""

    def __init__(self, failed: Callable[[str, ControlError], None]) -> None:
        """Call `failed` with service and reason when one fails that nobody waits for any more."""
        self._failed = failed
        self._lock = threading.Lock()
        self._running: dict[str, Running] = {}
        self._pool = Pool("engine-action", _AT_ONCE, _WAITING)

    def begin(self, name: str, wanted: Running, act: Callable[[], None]) -> Running:
        """Have it done; the same that is being done already is joined. Raises ControlError."""
        with self._lock:
            running = self._running.get(name)
            if running is None:
                self._running[name] = wanted
            elif running.action == wanted.action:
                return running
            else:
                detail = f"{name} is {running.describe()} already"
                raise ControlError("busy", detail, title="Not possible now", service=name)
        if not self._pool.submit(lambda: self._run(name, wanted, act)):
            with self._lock:
                del self._running[name]
            raise ControlError("busy", "too many actions are under way", status=503, service=name)
        return wanted

    def wait(self, running: Running, seconds: float) -> None:
        """Wait for its end, not longer than this; raises what it failed with."""
        if not running.ended.wait(seconds):
            running.left = True
        if running.trouble is not None:
            raise running.trouble

    def busy(self, name: str) -> bool:
        """Tell whether something is being done to a service."""
        with self._lock:
            return name in self._running

    def shown(self, status: ServiceStatus) -> ServiceStatus:
        """Return a status with what is being done to the service."""
        with self._lock:
            running = self._running.get(status.name)
        if running is None:
            return status
        if running.action != "start" and status.pid is not None and status.pid == running.pid:
            return replace(status, state=State.STOPPING, reason=running.describe())
        if running.action != "stop" and not status.running:
            return replace(status, state=State.STARTING, reason=running.describe())
        return status

    def _run(self, name: str, running: Running, act: Callable[[], None]) -> None:
        try:
            act()
        except ControlError as error:
            error.service = name
            running.trouble = error
        finally:
            with self._lock:
                del self._running[name]
            running.ended.set()
        if running.left and running.trouble is not None:
            self._failed(name, running.trouble)
