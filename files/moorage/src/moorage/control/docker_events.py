"""What happens to a stack's containers: the engine's events, and what was asked for here.

Numbered and kept over restarts in a file, as the supervisor does with its own.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any

from moorage.control.contract import ControlError, Event, ExitStatus
from moorage.control.docker_status import exit_status
from moorage.control.engine import Engine
from moorage.control.membership import PROJECT_LABEL, Member, Membership
from moorage.release.names import STACK_LABEL
from process_supervisor.common.events import Events

# The engine remembers its last few hundred events: at the first start this is how far back.
_LOOK_BACK_NS = 86_400 * 10**9
_QUIET_SECONDS = 30.0
_RETRY_SECONDS = 1.0
_HEALTH = "health_status: "


class Journal:
    """The events of one stack. `start` begins to listen to the engine."""

    def __init__(self, engine: Engine, membership: Membership, stack: str, path: str) -> None:
        """Read what was kept at `path`."""
        self._engine = engine
        self._membership = membership
        self._labels = {STACK_LABEL: stack, PROJECT_LABEL: stack}
        self._changed = threading.Condition()
        self._events = Events(path)
        self._exits: dict[str, ExitStatus] = {}
        self._short: dict[str, float] = {}
        kept = list(self._events.ring)
        stamps = [int(entry["engine_ns"]) for entry in kept if "engine_ns" in entry]
        self._last_ns = max(stamps, default=time.time_ns() - _LOOK_BACK_NS)
        for entry in kept:
            self._note_exit(entry)

    def start(self) -> None:
        """Listen to the engine from now on, in a thread."""
        threading.Thread(target=self._listen, name="engine-events", daemon=True).start()

    def request(self, action: str, member: Member, who: str, reason: str) -> None:
        """Note what somebody asked for."""
        self._add("request", member.name, op=action, who=who, reason=reason or None)

    def failed(self, name: str, error: ControlError) -> None:
        """Note an action that failed when nobody waited for it any more."""
        self._add("error", name, reason=error.detail)

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

        The engine's own mark is gone as soon as it has started the container again.
        """
        with self._changed:
            return self._short.get(name)

    def _add(self, kind: str, service: str, **facts: object) -> None:
        with self._changed:
            self._note_exit(self._events.add(kind, service, **facts))
            self._changed.notify_all()

    def _note_exit(self, entry: Mapping[str, Any]) -> None:
        if "code" in entry:
            at = entry["engine_ns"] / 1e9
            self._exits[str(entry.get("process"))] = exit_status(int(entry["code"]), at)
        if entry.get("event") == "oom" and "engine_ns" in entry:
            self._short[str(entry.get("process"))] = entry["engine_ns"] / 1e9

    def _listen(self) -> None:
        while True:
            try:
                for raw in self._engine.events(self._labels, self._last_ns, _QUIET_SECONDS):
                    if raw is not None:
                        self._take(raw)
            except (ControlError, ValueError, KeyError):
                # An engine that is down or being restarted: what it does meanwhile is asked for
                # later, from the last event on.
                pass
            time.sleep(_RETRY_SECONDS)

    def _take(self, raw: Mapping[str, Any]) -> None:
        stamp = int(raw["timeNano"])
        if stamp <= self._last_ns:
            return
        self._last_ns = stamp
        attributes = raw["Actor"]["Attributes"]
        # Labels can be had by anybody's container; the names are the release's.
        for member in self._membership.members().values():
            if member.container == attributes.get("name"):
                if self._membership.owns(member, attributes):
                    self._record(member, str(raw["Action"]), attributes, stamp)
                return

    def _record(
        self, member: Member, action: str, attributes: Mapping[str, str], stamp: int
    ) -> None:
        if action == "start":
            self._add("state", member.name, to="running", engine_ns=stamp)
        elif action == "die":
            code = int(attributes.get("exitCode") or 0)
            self._add("state", member.name, to="exited", code=code, engine_ns=stamp)
        elif action.startswith(_HEALTH):
            self._add("health", member.name, to=action.removeprefix(_HEALTH), engine_ns=stamp)
        elif action == "kill":
            signal = attributes.get("signal")
            self._add("signal", member.name, signal=signal, engine_ns=stamp)
        elif action in ("create", "destroy", "oom", "pause", "unpause"):
            self._add(action, member.name, engine_ns=stamp)


def _event(entry: Mapping[str, Any]) -> Event:
    facts = [f"→ {entry['to']}"] if "to" in entry else []
    facts += [f"{name} {entry[name]}" for name in ("op", "code", "signal") if name in entry]
    return Event(
        sequence=int(entry["seq"]),
        at=entry["engine_ns"] / 1e9 if "engine_ns" in entry else float(entry["at"]),
        service=str(entry.get("process") or ""),
        kind=str(entry["event"]),
        message=", ".join(facts),
        who=entry.get("who"),
        reason=entry.get("reason"),
    )
