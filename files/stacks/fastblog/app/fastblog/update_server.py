"""Looks for releases: `python3 -m fastblog_start update_server`.

Every hour, and when somebody asks (message `check` to `update_server`), it reads the signed feed.
What it found is in updates/state.json, and the answer to `status`; a newer release is an event
`updates`.
"""

import os
import signal
import sys
import threading
import time
from typing import Any

from fastblog_start import releases
from fastblog_start.releases import ReleaseError

from fastblog.ipc import Member
from fastblog.updates import Place, UpdateError
from moorage.application.environment import ConfigurationError, number
from moorage.application.probe import heartbeat_file

_BEAT_SECONDS, _ANSWER_SECONDS = 5.0, 10.0


def look(place: Place) -> dict[str, Any]:
    """Read the feed, keep what was found, and return it."""
    before = place.noted("state")
    state: dict[str, Any] = {
        "running": place.running(),
        "checked_at": time.time(),
        "problem": "",
        "feed": place.feed,
    }
    # What an earlier look has found, as far as it is what one writes.
    for name, usual in (("newest", ""), ("notes", ""), ("serial", 0)):
        state[name] = before[name] if type(before.get(name)) is type(usual) else usual
    try:
        state["serial"], found = place.read()
        state["newest"] = found[0].version if found else ""
        state["notes"] = found[0].notes if found else ""
    except UpdateError as error:
        state["problem"] = str(error)
    try:
        newest = releases.parse(state["newest"])
        state["available"] = newest > releases.parse(state["running"])
    except ReleaseError:
        state["newest"], state["available"] = "", False
    place.note("state", state)
    return state


class Watch:
    """Looks now and then, and at once when it is asked to."""

    def __init__(self, place: Place, seconds: int) -> None:
        """Look every so many seconds."""
        self._place, self._seconds = place, seconds
        self._wanted, self._looked = threading.Event(), threading.Condition()
        self._rounds = 0
        self._member = Member("update_server", serve=self.serve)

    def serve(self, data: Any, _who: str) -> dict[str, Any]:
        """Answer a message: `status`, or `check`, which looks first."""
        if data == "check":
            with self._looked:
                rounds = self._rounds
                self._wanted.set()
                self._looked.wait_for(lambda: self._rounds > rounds, _ANSWER_SECONDS)
        elif data != "status":
            raise ValueError("say status or check")
        return {**self._place.noted("state"), "running": self._place.running()}

    def wake(self) -> None:
        """Have the loop look at what has changed."""
        self._wanted.set()

    def run(self, stop: threading.Event) -> None:
        """Go on until told to stop."""
        due, told = 0.0, ""
        while not stop.is_set():
            heartbeat_file().touch()
            if self._wanted.is_set() or time.monotonic() >= due:
                self._wanted.clear()
                state = look(self._place)
                due = time.monotonic() + self._seconds
                with self._looked:
                    self._rounds += 1
                    self._looked.notify_all()
                print(f"newest {state['newest'] or 'unknown'} {state['problem']}", flush=True)
                if state["available"] and state["newest"] != told:
                    told = state["newest"]
                    self._member.publish("updates", state)
            self._wanted.wait(min(_BEAT_SECONDS, max(0.0, due - time.monotonic())))


def main() -> int:
    """Run; return the exit status."""
    stop = threading.Event()
    try:
        watch = Watch(Place.from_environment(os.environ), number(os.environ, "CHECK_SECONDS", 3600))
    except ConfigurationError as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 78

    def end(*_: object) -> None:
        stop.set()
        # It waits for this one.
        watch.wake()

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, end)
    watch.run(stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
