"""What happens to a stack's services: numbered, and kept over restarts in a file."""

import threading
from collections.abc import Mapping
from typing import Any

from moorage.control.contract import ControlError, Event, ExitStatus
from process_supervisor.common.events import Events

# The engine writes signals as codes from there, and so does a shell.
_SIGNALLED = 128


def exit_status(code: int, at: float | None) -> ExitStatus:
    """Return an end as the contract has it; the engine writes signals as codes from 128."""
    if code > _SIGNALLED:
        return ExitStatus(code=None, signal=code - _SIGNALLED, at=at)
    return ExitStatus(code=code, signal=None, at=at)


class Journal:
    """The events of one stack. Safe to share between threads."""

    def __init__(self, path: str) -> None:
        """Read what was kept at `path`."""
        self._changed = threading.Condition()
        self._events = Events(path, files=2)
        self._exits: dict[str, ExitStatus] = {}
        self._short: dict[str, float] = {}
        for entry in self._events.ring:
            self._note_exit(entry)

    def request(self, action: str, name: str, who: str, reason: str) -> None:
        """Note what somebody asked for."""
        self.add("request", name, op=action, who=who, reason=reason or None)

    def failed(self, name: str, error: ControlError) -> None:
        """Note an action that failed when nobody waited for it any more."""
        self.add("error", name, reason=error.detail)

    def since(self, sequence: int, limit: int) -> list[Event]:
        """Return the newest events after one, oldest first."""
        with self._changed:
            return [_event(entry) for entry in self._events.since(sequence, limit)]

    def wait(self, sequence: int, seconds: float) -> None:
        """Return when there is an event after this one, or after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._events.seq > sequence, seconds)

    def latest(self) -> int:
        """Return the number of the last event."""
        with self._changed:
            return self._events.seq

    def last_exit(self, name: str) -> ExitStatus | None:
        """Return how a service ended when it was last seen to."""
        with self._changed:
            return self._exits.get(name)

    def short_of_memory(self, name: str) -> float | None:
        """Return when the kernel last ended something of a service for want of memory.

        What runs it may forget that as soon as it has started it again.
        """
        with self._changed:
            return self._short.get(name)

    def add(self, kind: str, service: str, **facts: object) -> None:
        """Note what happened to a service; facts that are None are left out."""
        with self._changed:
            self._note_exit(self._events.add(kind, service, **facts))
            self._changed.notify_all()

    def _note_exit(self, entry: Mapping[str, Any]) -> None:
        if "code" in entry:
            self._exits[str(entry.get("process"))] = exit_status(int(entry["code"]), _at(entry))
        if entry.get("event") == "oom":
            self._short[str(entry.get("process"))] = _at(entry)


def _at(entry: Mapping[str, Any]) -> float:
    return float(entry["engine_ns"] / 1e9 if "engine_ns" in entry else entry["at"])


def _event(entry: Mapping[str, Any]) -> Event:
    facts = [f"→ {entry['to']}"] if "to" in entry else []
    facts += [f"{name} {entry[name]}" for name in ("op", "code", "signal") if name in entry]
    return Event(
        sequence=int(entry["seq"]),
        at=_at(entry),
        service=str(entry.get("process") or ""),
        kind=str(entry["event"]),
        message=", ".join(facts),
        who=entry.get("who"),
        reason=entry.get("reason"),
    )
