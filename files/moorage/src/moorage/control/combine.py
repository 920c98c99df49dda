"""Many who ask the same at once are answered together, and never with what is older than they."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Found = TypeVar("Found")


class Combined(Generic[Found]):
    """A call whose concurrent callers share results.

    Who asks while a call is under way waits for the next one, which begins after he asked: the
    answer holds everything that had happened by then. Any number of callers cost two calls.
    """

    def __init__(self, call: Callable[[], Found]) -> None:
        """Wrap `call`, which may raise."""
        self._call = call
        self._changed = threading.Condition()
        self._begun = 0
        self._ended = 0
        self._found: tuple[Found | None, BaseException | None] = (None, None)

    def get(self) -> Found:
        """Return what a call that began after this one found, or raise what it raised."""
        with self._changed:
            wanted = self._begun + 1
            while self._ended < wanted:
                if self._begun == self._ended:
                    self._begun += 1
                    self._run()
                else:
                    self._changed.wait()
            found, error = self._found
        if error is not None:
            raise error
        return found  # type: ignore[return-value]

    def _run(self) -> None:
        self._changed.release()
        found: Found | None = None
        error: BaseException | None = None
        try:
            found = self._call()
        except Exception as raised:
            error = raised
        finally:
            self._changed.acquire()
            self._found = (found, error)
            self._ended += 1
            self._changed.notify_all()
