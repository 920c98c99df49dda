"""The audit trail: who asked for what, and what became of it, read from a stack's events. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from moorage.control import Event, State

# A service that fails right after its start has not been started.
SETTLE_SECONDS = 5.0
_TARGET = re.compile(r"→ ([a-z]+)")
_ACTION = re.compile(r"\bop ([a-z]+)")
_AIMS = {
    "start": (State.RUNNING, State.EXITED, State.FATAL),
    "restart": (State.RUNNING, State.EXITED, State.FATAL),
    "stop": (State.STOPPED, State.EXITED, State.FATAL),
}


@dataclass(frozen=True)
class Entry:
    """An event; of one that asked for something also what, and the state that it led to."""

    event: Event
    action: str = ""
    result: State | None = None

    @property
    def requested(self) -> bool:
        """Whether somebody asked for this."""
        return bool(self.event.who) or self.event.kind == "request"


def entries(events: Sequence[Event]) -> list[Entry]:
    """Return an entry for each event, in the same order (oldest first)."""
    return [_entry(event, events[at + 1 :]) for at, event in enumerate(events)]


def chosen(
    found: Iterable[Entry], *, service: str = "", requested_only: bool = False
) -> list[Entry]:
    """Return those of one service, of all without a name; those that were asked for, or all."""
    return [
        entry
        for entry in found
        if (not service or entry.event.service == service)
        and (entry.requested or not requested_only)
    ]


def _entry(event: Event, later: Sequence[Event]) -> Entry:
    if event.kind != "request":
        return Entry(event)
    found = _ACTION.search(event.message)
    action = found[1] if found else ""
    return Entry(event, action, _result(event, action, later))


def _result(request: Event, action: str, later: Sequence[Event]) -> State | None:
    result: State | None = None
    for event in later:
        if event.service != request.service:
            continue
        if event.kind == "request":
            break
        target = _TARGET.search(event.message) if event.kind == "state" else None
        if target is None or target[1] not in list(State):
            continue
        settled = event.at > request.at + SETTLE_SECONDS
        if settled and result in _AIMS.get(action, tuple(State)):
            break
        result = State(target[1])
    return result
