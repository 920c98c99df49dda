"""What the watcher does: checks, restarts of what is unhealthy, and stops that are to last."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from moorage.common.files import write_atomically
from moorage.common.lock import is_held
from moorage.common.readers import read_note
from moorage.control.actions import Actions, Running
from moorage.control.contract import Action, ControlError
from moorage.control.journal import Journal
from moorage.control.membership import Membership
from moorage.deploy.instance import Instance
from moorage.deploy.runtimes.base import RuntimeFault
from moorage.deploy.runtimes.entering import variables_of
from moorage.deploy.runtimes.native import Native
from moorage.deploy.runtimes.records import Record
from moorage.release.layout import Layout
from moorage.release.names import NEXT
from moorage.release.native import Process
from moorage.watch.run import Run
from moorage.watch.sight import Seen, Sight
from process_supervisor.common.loop import EventLoop
from process_supervisor.service import policy
from process_supervisor.service.process import chance
from process_supervisor.service.states import Health

HEALTH = "health.json"
# How often the records are looked at, and how often the manager is asked: while something is to
# come of what was seen, and otherwise. What ends is noticed at once, whatever these say.
_GLANCE_SECONDS, _BUSY_SECONDS, _QUIET_SECONDS = 0.2, 0.5, 3.0
# A restart stops first: what is started again within that time was not stopped.
_HOLD_SECONDS = 3.0
# What a stop and a start may take beyond the grace of the process.
MARGIN_SECONDS = 60.0
_BY_HAND = "somebody stopped it on the host: it stays so over a boot"
# What systemd forgets, no status shows: where only pauses depend on it, not too soon.
_SHOWN_SECONDS = 3600.0


class Watcher:
    """Watches one stack. All but `look` runs in the thread of the loop."""

    def __init__(
        self,
        layout: Layout,
        native: Native,
        loop: EventLoop,
        sight: Sight,
        journal: Journal,
        membership: Membership,
    ) -> None:
        """Ask nothing yet; what a watcher before has found out is where it wrote it."""
        self.actions = Actions(journal.failed)
        self._layout, self._native, self._loop = layout, native, loop
        self._sight, self._journal, self._membership = sight, journal, membership
        self._path = layout.watch / HEALTH
        self._written: Mapping[str, Any] = read_note(self._path)
        self._runs: dict[str, Run] = {}
        self._before: dict[str, Instance] | None = None
        self._restarts: dict[str, int] = {}
        # Units that nobody wants: since when, and those of which the manager knows that.
        self._down: dict[str, float] = {}
        self._held: set[str] = set()
        self._given_up: dict[str, str] = {}
        self._wanted = threading.Event()
        self._changed = 0
        self._settled = self._over = False
        self._trouble = ""

    # -- looking --------------------------------------------------------------------------

    def end(self) -> None:
        """Look no more; what is checked goes with the loop."""
        self._over = True
        self._wanted.set()

    def look(self) -> None:
        """Look once, from any thread, and have the loop draw its conclusions."""
        try:
            seen = self._sight.look()
        except RuntimeFault as trouble:
            # Said once, however long the manager is away.
            said, self._trouble = self._trouble, str(trouble)
            if said != self._trouble:
                print(
                    f"cannot look at {self._layout.stack}: {trouble}", file=sys.stderr, flush=True
                )
            return
        self._trouble = ""
        self._loop.call_from_thread(lambda: self.take(seen))

    def keep_looking(self) -> None:
        """Look again and again, in a thread of its own."""
        while not self._over:
            due = time.monotonic() + (_QUIET_SECONDS if self._settled else _BUSY_SECONDS)
            while time.monotonic() < due and not self._moved():
                if self._wanted.wait(_GLANCE_SECONDS):
                    break
            self._wanted.clear()
            self.look()

    def _moved(self) -> bool:
        """Tell whether there are other records than at the last look."""
        try:
            now = self._layout.instances.stat().st_mtime_ns
        except FileNotFoundError:
            now = 0
        before, self._changed = self._changed, now
        return now != before

    # -- drawing conclusions --------------------------------------------------------------

    def take(self, seen: Seen) -> None:
        """Take note of what there is."""
        self._follow(seen)
        for unit, run in self._runs.items():
            if said := run.put_back():
                print(f"{unit}: {said}", file=sys.stderr, flush=True)
        if not self._rollout():
            self._mind(seen)
            for instance in seen.instances.values():
                if instance.id in self._runs:
                    self._mend(instance.id, instance)
                    self._forgive(self._runs[instance.id], instance)
        self._tell(seen.instances)
        self._write()
        self._settled = all(self._rests(instance) for instance in seen.instances.values())

    def _rests(self, instance: Instance) -> bool:
        """Tell whether nothing is expected to come of an instance."""
        if instance.alive:
            run = self._runs.get(instance.id)
            return run is not None and run.health in (Health.HEALTHY, Health.NONE)
        return not instance.held or instance.id not in self._down or instance.id in self._held

    def _follow(self, seen: Seen) -> None:
        """Check what runs, each run from its beginning to its end."""
        alive = {i.id: name for name, i in seen.instances.items() if i.pid and name in seen.records}
        for unit, run in list(self._runs.items()):
            name = alive.get(unit, "")
            found = (seen.instances[name].pid, _watched(seen.records[name])) if name else None
            if found != (run.pid, run.process):
                run.end()
                del self._runs[unit]
        for unit, name in alive.items():
            if unit not in self._runs:
                self._begin(name, seen)

    def _begin(self, name: str, seen: Seen) -> None:
        process, pid = _watched(seen.records[name]), seen.instances[name].pid
        known = self._written.get(process.unit)
        known = known if isinstance(known, dict) else {}
        well = known.get("pid") == pid and known.get("health") == Health.HEALTHY
        try:
            variables = variables_of(self._layout, process)
            run = Run(
                self._loop, process, pid, self._wanted.set, self._checked, variables, well=well
            )
        except ProcessLookupError:
            return
        except (OSError, ValueError) as trouble:
            print(f"cannot watch {process.unit}: {trouble}", file=sys.stderr, flush=True)
            return
        self._runs[process.unit] = run
        self._given_up.pop(process.unit, None)

    def _checked(self, run: Run) -> None:
        unit, health = run.process.unit, str(run.health)
        before = self._written.get(unit, {})
        self._write()
        if health == before.get("health"):
            return
        for instance in (self._before or {}).values():
            if instance.id == unit:
                self._journal.add("health", self._called(instance), to=health)
        if run.health is Health.UNHEALTHY:
            self._wanted.set()

    def _write(self) -> None:
        wanted = {unit: run.to_dict() for unit, run in self._runs.items()}
        if wanted == self._written:
            return
        try:
            write_atomically(self._path, json.dumps(wanted, indent=1) + "\n")
        except OSError as trouble:
            print(f"cannot write {trouble.filename}: {trouble.strerror}", file=sys.stderr)
            return
        self._written = wanted

    # -- who stops and who starts ---------------------------------------------------------

    def _rollout(self) -> bool:
        """Tell whether a rollout is at work, or has left something half-way."""
        return self._layout.marker.exists() or is_held(self._layout.lock)

    def _busy(self, instance: Instance) -> bool:
        return instance.name.endswith(NEXT) or self.actions.busy(self._called(instance))

    def _called(self, instance: Instance) -> str:
        """Return what the control API calls the service of an instance."""
        known = {}
        with suppress(ControlError):
            known = {m.container: name for name, m in self._membership.members().items()}
        return known.get(instance.name.removesuffix(NEXT), instance.service)

    def _mind(self, seen: Seen) -> None:
        """Have the manager know what somebody has stopped, or started again."""
        hold, start = [], []
        for instance in seen.instances.values():
            unit, now = instance.id, self._loop.time()
            if self._forgotten(instance, seen):
                start.append(instance.name)
            elif self._busy(instance) or not (instance.alive or instance.held):
                self._down.pop(unit, None)
            elif instance.alive:
                record = seen.records.get(instance.name)
                anew = record is not None and not record.started
                if self._down.pop(unit, None) is not None or anew:
                    start.append(instance.name)
                self._held.discard(unit)
            elif unit not in self._given_up:
                since = self._down.setdefault(unit, now)
                # One that has not run since the boot was stopped before that.
                due = instance.finished_at and now - since >= _HOLD_SECONDS
                if due and unit not in self._held:
                    hold.append(instance.name)
                    self._held.add(unit)
                    self._journal.add("held", self._called(instance), reason=_BY_HAND)
        if hold or start:
            self._apart(lambda: self._note_down(hold, start))

    def _forgotten(self, instance: Instance, seen: Seen) -> bool:
        """Tell whether Supervisor has begun anew by itself, as at `reload`.

        It knows of no run then, and starts none.
        """
        old, record = (self._before or {}).get(instance.name), seen.records.get(instance.name)
        ran = old is not None and old.pid and not (instance.alive or instance.finished_at)
        return bool(ran) and record is not None and record.manager == "supervisor"

    def _note_down(self, hold: list[str], start: list[str]) -> None:
        self._native.hold(hold)
        self._native.start(start)

    def _apart(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except RuntimeFault as trouble:
                print(trouble, file=sys.stderr, flush=True)

        threading.Thread(target=run, daemon=True).start()

    def held(self, unit: str) -> None:
        """Take note, from any thread, that the manager knows that somebody has stopped a unit."""
        self._held.add(unit)

    # -- what is unhealthy ----------------------------------------------------------------

    def _mend(self, unit: str, instance: Instance) -> None:
        """Start anew what is unhealthy, as its restart policy says."""
        run, now = self._runs[unit], self._loop.time()
        check = run.rules.health_check
        if run.health is not Health.UNHEALTHY or check is None:
            run.heal_at = None
            return
        if not check.restart_when_unhealthy or self._busy(instance):
            return
        if run.heal_at is None:
            count = self._restarts.get(unit, 0)
            count = policy.remembered(run.rules, count, now - run.started)
            self._restarts[unit] = count
            decision = policy.decide(run.rules, count, True, chance())
            if decision.action is not policy.Action.RESTART:
                self._given_up[unit] = f"{decision.reason}; last: unhealthy: {run.reason}"
                self._act("stop", run, instance, self._given_up[unit])
                return
            run.heal_at = now + decision.delay
            self._loop.call_later(decision.delay, self._wanted.set)
        if now >= run.heal_at:
            self._restarts[unit] += 1
            self._act("restart", run, instance, f"unhealthy: {run.reason}")

    def _forgive(self, run: Run, instance: Instance) -> None:
        """Have a manager that looks at no clock forget the restarts before a long run."""
        process = run.process
        enough = _SHOWN_SECONDS if process.attempts is None else process.window
        long = self._loop.time() - run.started >= enough
        if long and instance.restarts and not run.forgiven:
            run.forgiven = True
            self._apart(lambda: self._native.forgive([instance.name]))

    def _act(self, action: Action, run: Run, instance: Instance, reason: str) -> None:
        name, grace = self._called(instance), run.process.stop_seconds

        def act() -> None:
            self._journal.add(action, name, reason=reason)
            seconds = grace + MARGIN_SECONDS
            try:
                if action == "stop":
                    self._native.stop([instance.name], timeout_seconds=seconds)
                else:
                    self._native.restart(instance.name, timeout_seconds=seconds)
            except RuntimeFault as trouble:
                raise ControlError("refused", str(trouble), service=name) from None
            finally:
                self._wanted.set()

        # Nobody waits for it, and who asks is told what is under way.
        with suppress(ControlError):
            self.actions.begin(name, Running(action, run.pid, grace, left=True), act)

    def given_up(self, unit: str) -> str:
        """Say why a unit is not started any more, empty where that is not so."""
        return self._given_up.get(unit, "")

    # -- what happened --------------------------------------------------------------------

    def _tell(self, instances: Mapping[str, Instance]) -> None:
        """Note what has happened since the last look; a candidate has its name only later."""
        before = self._before
        self._before = {n: i for n, i in instances.items() if not n.endswith(NEXT)}
        for name, new in self._before.items():
            old = before.get(name) if before else None
            called = self._called(new)
            ran = old is not None and old.pid and (old.id, old.pid) != (new.id, new.pid)
            if ran or self._has_ended_unseen(old, new, first=before is None):
                # What runs again already need not say how it has ended.
                code = (new.exit_code or None) if new.state == "running" else new.exit_code
                self._journal.add("state", called, to="exited", code=code)
                if new.out_of_memory:
                    self._journal.add("oom", called)
            if before is None:
                continue
            if new.pid and (old is None or (old.id, old.pid) != (new.id, new.pid)):
                self._journal.add("state", called, to="running")
            if new.state == "dead" and (old is None or old.state != "dead"):
                self._journal.add("state", called, to="fatal", reason=new.refused or None)

    def _has_ended_unseen(self, old: Instance | None, new: Instance, *, first: bool) -> bool:
        """Tell whether there was an end between two looks, or before the first: of a migration.

        Managers forget that with the next boot.
        """
        if new.pid or not new.finished_at:
            return False
        if first:
            return self._journal.last_exit(self._called(new)) is None
        return old is None or old.finished_at != new.finished_at


def _watched(record: Record) -> Process:
    """Return the process as it is watched: our supervisor checks what it runs by itself."""
    return replace(record.process, check=None) if record.manager == "own" else record.process
