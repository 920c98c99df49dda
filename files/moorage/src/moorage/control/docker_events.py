"""What happens to a stack's containers: the engine's events, and what was asked for here."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from moorage.control.contract import ControlError
from moorage.control.engine import Engine
from moorage.control.journal import Journal
from moorage.control.membership import PROJECT_LABEL, Member, Membership
from moorage.release.names import STACK_LABEL

# The engine remembers its last few hundred events: at the first start this is how far back.
_LOOK_BACK_NS = 86_400 * 10**9
_QUIET_SECONDS = 30.0
_RETRY_SECONDS = 1.0
_HEALTH = "health_status: "


class EngineJournal(Journal):
    """The events of one stack. `start` begins to listen to the engine."""

    def __init__(self, engine: Engine, membership: Membership, stack: str, path: str) -> None:
        """Read what was kept at `path`."""
        super().__init__(path)
        self._engine = engine
        self._membership = membership
        self._labels = {STACK_LABEL: stack, PROJECT_LABEL: stack}
        kept = self._events.ring
        stamps = [int(entry["engine_ns"]) for entry in kept if "engine_ns" in entry]
        self._last_ns = max(stamps, default=time.time_ns() - _LOOK_BACK_NS)

    def start(self) -> None:
        """Listen to the engine from now on, in a thread."""
        threading.Thread(target=self._listen, name="engine-events", daemon=True).start()

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
            self.add("state", member.name, to="running", engine_ns=stamp)
        elif action == "die":
            code = int(attributes.get("exitCode") or 0)
            self.add("state", member.name, to="exited", code=code, engine_ns=stamp)
        elif action.startswith(_HEALTH):
            self.add("health", member.name, to=action.removeprefix(_HEALTH), engine_ns=stamp)
        elif action == "kill":
            signal = attributes.get("signal")
            self.add("signal", member.name, signal=signal, engine_ns=stamp)
        elif action in ("create", "destroy", "oom", "pause", "unpause"):
            self.add(action, member.name, engine_ns=stamp)
