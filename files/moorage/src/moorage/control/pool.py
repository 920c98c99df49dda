"""Threads for calls that may take a while: few, made when needed, gone when idle."""

import threading
from collections import deque
from collections.abc import Callable

_IDLE_SECONDS = 20.0


class Pool:
    """At most `threads` jobs at once and `backlog` more that wait."""

    def __init__(self, name: str, threads: int, backlog: int) -> None:
        """Start nothing yet."""
        self._name = name
        self._threads = threads
        self._backlog = backlog
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._running = 0
        self._idle = 0

    def submit(self, job: Callable[[], None]) -> bool:
        """Have it run soon; False when too many wait already. `job` raises nothing."""
        with self._changed:
            waiting = len(self._jobs)
            free = self._idle + self._threads - self._running
            if waiting >= self._backlog + free:
                return False
            self._jobs.append(job)
            if self._idle > waiting:
                self._changed.notify()
            elif self._running < self._threads:
                self._running += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
            return True

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._jobs:
                    self._idle += 1
                    self._changed.wait_for(lambda: self._jobs, _IDLE_SECONDS)
                    self._idle -= 1
                if not self._jobs:
                    self._running -= 1
                    return
                job = self._jobs.popleft()
            job()
