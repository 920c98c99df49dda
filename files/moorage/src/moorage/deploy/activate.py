"""Activation: make a release the running one, or leave everything as it was and say why.

Above 400 lines: its phases and the ways back from each of them are read together.
"""

from __future__ import annotations

import json
import time
import traceback
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from moorage.common.files import discard, write_atomically
from moorage.common.lock import Locked, hold
from moorage.common.readers import Damaged
from moorage.deploy import hooks, receipt, systemd
from moorage.deploy.claims import refuse_changed_networks, refuse_held
from moorage.deploy.drivers.base import FindDriver
from moorage.deploy.drivers.registry import driver
from moorage.deploy.encryption import fault
from moorage.deploy.gate import GateClosed
from moorage.deploy.health import Unfit
from moorage.deploy.journal import Journal
from moorage.deploy.owners import with_owners
from moorage.deploy.pinned import as_pulled
from moorage.deploy.planning import read_marker
from moorage.deploy.release import (
    Release,
    ReleaseError,
    current_release,
    list_releases,
    point_current_at,
    prune_releases,
    read_release,
)
from moorage.deploy.request import Outcome as Outcome
from moorage.deploy.request import Request as Request
from moorage.deploy.reservation import admit
from moorage.deploy.rollout import Rollout
from moorage.deploy.room import Room
from moorage.deploy.runtimes.base import RuntimeFault
from moorage.deploy.runtimes.pulled import sweep
from moorage.deploy.scene import Limits, Scene
from moorage.deploy.secretfiles import note_secrets, stale_secrets
from moorage.deploy.traffic import BudgetSpent, Traffic
from moorage.deploy.waves import Paused
from moorage.edge import Edge, EdgeError
from moorage.release.layout import Layout
from process_supervisor.control.client import ControlError

FAILURES = (
    BudgetSpent,
    ControlError,
    Damaged,
    EdgeError,
    GateClosed,
    OSError,
    ReleaseError,
    RuntimeFault,
    Unfit,
    hooks.HookFailed,
)


def activate(
    request: Request,
    layout: Layout,
    journal: Journal,
    find_driver: FindDriver = driver,
    edge: Edge | None = None,
) -> Outcome:
    """Make the release of ``request`` the running one.

    Never raises: the outcome says what went wrong.
    """
    purpose = f"{request.purpose} of release {request.release}"
    began = time.time()
    try:
        with ExitStack() as held:
            with journal.phase("lock"):
                held.enter_context(hold(layout.lock, purpose, request.who, request.lock_wait))
                admit(layout, request.token)
            work = Activation(request, layout, journal, find_driver, edge or Edge.of())
            outcome = work.run(began)
    except Locked as locked:
        outcome = Outcome("locked", request.release, message=f"{layout.stack}: {locked}")
    except Exception as trouble:
        # A disk that holds not even a note of the lock, a directory where a file is to be.
        outcome = Outcome("failed", request.release, message=f"{layout.stack}: {_why(trouble)}")
    outcome.phases = journal.phases
    journal.end("outcome", **outcome.to_dict())
    return outcome


class Activation:
    """One activation, under the stack's lock."""

    def __init__(
        self,
        request: Request,
        layout: Layout,
        journal: Journal,
        find_driver: FindDriver,
        edge: Edge,
    ) -> None:
        self._request = request
        self._layout = layout
        self._journal = journal
        self._find_driver = find_driver
        self._traffic = Traffic(request.stack, edge)
        self._previous: Release | None = None
        self._release: Release | None = None
        self._marker: dict[str, Any] = {}
        self._migrations: dict[str, Any] | None = None
        self._hooks: list[dict[str, Any]] = []
        self._room = Room(layout.base)
        self._stale: list[str] = []

    def run(self, began: float) -> Outcome:
        """Do it all and return what became of it."""
        try:
            with self._journal.phase("preflight"):
                rollout = self._preflight()
        except Exception as trouble:
            # Nothing was touched: what runs goes on running.
            self._end()
            return self._finish(self._refused(_why(trouble)), began, None)
        try:
            self._bring_up(rollout)
        except Paused as trouble:
            previous = self._previous.id if self._previous else None
            outcome = Outcome(
                "failed", rollout.release.id, previous, True, str(trouble), rollout.did.to_dict()
            )
        except Exception as trouble:
            # Whatever it was: visitors are with what ran before, and who asked learns why.
            outcome = self._go_back(rollout, _why(trouble))
        else:
            outcome = self._done(rollout)
        finally:
            self._end()
        if outcome.outcome != "failed" or not self._left_stopped(rollout):
            discard(self._layout.marker)
        return self._finish(outcome, began, rollout)

    def _left_stopped(self, rollout: Rollout) -> bool:
        """Tell whether something stays stopped that no person has stopped.

        The marker tells whoever comes next: else that looks as if somebody had.
        """
        scene = rollout.scene
        try:
            instances = list(scene.look().values())
            stopped = {
                name
                for release in (rollout.release, self._previous or rollout.release)
                for name in self._find_driver(release.topology, self._layout).held(
                    release, instances
                )
            }
        except FAILURES:
            return True
        return bool(stopped - set(rollout.did.held))

    def _end(self) -> None:
        """Let go of what a rollout holds; what fails at that has no part in its outcome."""
        for let_go in (self._traffic.stop, self._room.give):
            try:
                let_go()
            except Exception as trouble:
                self._journal.note("left", message=_why(trouble))

    # -- forward --------------------------------------------------------------------------

    def _preflight(self) -> Rollout:
        request, layout = self._request, self._layout
        if why := fault(layout):
            raise ReleaseError(why)
        self._room.take()
        self._stale = stale_secrets(layout)
        self._marker = read_marker(layout)
        self._previous = self._readable_previous()
        release = self._release = read_release(layout, request.release)
        if not release.manifest.complete:
            raise ReleaseError(
                f"release {release.id} was made by an older version of Moorage, which published "
                f"its ports itself: deploy it anew instead"
            )
        refuse_held(release, layout.base.parent)
        refuse_changed_networks(self._previous, release)
        rollout = self._rollout(release, request.restart)
        # What an engine would find out with half of the stack taken down.
        rollout.scene.runtime.refuse(release)
        missing = rollout.scene.runtime.missing(release.images)
        if missing:
            raise ReleaseError(
                f"release {release.id} needs images that this host does not hold: "
                f"{', '.join(as_pulled(missing, release.manifest.pulled))}. Run the deploy again: "
                "it builds or pulls them; `moorage images load FILE` brings them without a network"
            )
        if self._previous is not None:
            self._previous = with_owners(self._previous, release)
        plan = rollout.prepare()
        todo = bool(plan.todo or plan.left or rollout.scene.owners.turns())
        anything = todo or bool(request.restart) or bool(self._marker)
        moved = self._previous is None or self._previous.id != release.id
        if anything and self._previous is not None and self._previous.manifest.complete:
            self._traffic.watch(self._previous, release)
        if rollout.moving:
            # Only when they have moved does anything new reach them.
            hooks.check_data(rollout.scene, rollout.moving)
        elif moved and self._previous is not None:
            self._ask(rollout)
        note = {
            "release": release.id,
            "previous": before.id if (before := self._before()) else None,
            "who": request.who,
            "purpose": request.purpose,
            "since": round(time.time(), 3),
            "held": rollout.did.held,
        }
        if anything or moved:
            write_atomically(layout.marker, json.dumps(note) + "\n")
        return rollout

    def _ask(self, rollout: Rollout) -> None:
        self._migrations = hooks.migrations(rollout.scene, self._request.allow_one_way)

    def _before(self) -> Release | None:
        """Return what ran before, for the evidence.

        A rollout that was cut off after its switch has left none: then it is what ran before that.
        """
        was, now = self._marker.get("previous"), self._previous
        if now is not None and now.id == self._marker.get("release") and isinstance(was, str):
            with suppress(ReleaseError):
                return read_release(self._layout, was)
        return now

    def _readable_previous(self) -> Release | None:
        """Return what runs; where it cannot be read there is no way back, and a way forward."""
        try:
            return current_release(self._layout)
        except ReleaseError as damage:
            self._journal.note("damaged", message=str(damage))
            return None

    def _bring_up(self, rollout: Rollout) -> None:
        previous = self._previous
        hooked = self._request.hooks and (previous is None or previous.id != rollout.release.id)
        if hooked and previous is not None:
            with self._journal.phase("hooks-before"):
                # Those of the release that runs: they are made for its instances.
                self._run_hooks("before", previous, rollout.scene)
        self._traffic.begin()
        rollout.run(lambda: self._ask(rollout))
        self._journal.note("started", **rollout.did.to_dict())
        self._traffic.judge(until=time.monotonic())
        if hooked:
            with self._journal.phase("hooks-after"):
                self._run_hooks("after", rollout.release, rollout.scene)
        self._room.give()
        # Who was asked to start anew reads what is there now; without being asked, nobody did, nor
        # did who stayed behind.
        old = {s for u in rollout.scene.units if u.name in rollout.did.behind for s in u.secrets}
        note_secrets(self._layout, old | set(() if self._request.restart else self._stale))
        if previous is None or previous.id != rollout.release.id:
            point_current_at(self._layout, rollout.release, self._request.action)

    def _run_hooks(self, kind: Literal["before", "after"], release: Release, scene: Scene) -> None:
        self._hooks += hooks.run_hooks(kind, release, scene, self._request.keep)

    def _done(self, rollout: Rollout) -> Outcome:
        release, previous = rollout.release, self._previous
        moved = previous is None or previous.id != release.id
        changed = moved or rollout.did.anything or bool(self._marker)
        said = []
        if rollout.did.behind:
            behind = ", ".join(rollout.did.behind)
            said.append(f"did not get well and stayed as they were: {behind}")
        pruned: list[str] = []
        try:
            self._retire(previous, release)
            with self._journal.phase("prune"):
                pruned += prune_releases(self._layout, self._request.keep)
                if moved or pruned:
                    kept = {ref for r in list_releases(self._layout) for ref in r.images}
                    pruned += rollout.scene.runtime.prune(self._layout.stack, kept)
                    if release.manifest.pulled or (previous and previous.manifest.pulled):
                        pruned += sweep(self._layout.base.parent)
        except Exception as trouble:
            # It runs and is the current one: what is left over is no reason to go back.
            said.append(f"what is not needed any more could not all be removed: {_why(trouble)}")
        message = "\n".join(said)
        return Outcome(
            "activated" if changed else "unchanged",
            release.id,
            previous.id if previous else None,
            changed,
            message,
            rollout.did.to_dict(),
            pruned,
        )

    # -- back -----------------------------------------------------------------------------

    def _refused(self, why: str) -> Outcome:
        kept = self._previous.id if self._previous else None
        return Outcome("failed", self._request.release, kept, message=why)

    def _go_back(self, failed: Rollout, why: str) -> Outcome:
        self._journal.note("failed", message=why)
        # Going back may need it on a full disk.
        self._room.give()
        previous, asked = self._previous, self._request.release
        if previous is None or not previous.manifest.complete:
            kept = previous.id if previous else None
            return Outcome("failed", asked, kept, True, why, failed.did.to_dict())
        try:
            with self._journal.phase("restore"):
                back = self._rollout(previous, (), restoring=True, held=failed.did.held)
                back.prepare()
                if previous.id == asked:
                    back.take_back()
                    # What is wrong with it stays wrong; what was to replace it is gone.
                    return Outcome("failed", asked, previous.id, True, why, failed.did.to_dict())
                back.run()
                self._retire(failed.release, previous)
        except Exception as trouble:
            message = f"{why}\nand going back to release {previous.id} failed too: {_why(trouble)}"
            return Outcome("failed", asked, previous.id, True, message, failed.did.to_dict())
        # What went back changed hands once more.
        failed.did.owners += back.did.owners
        failed.did.in_place_gaps += back.did.in_place_gaps
        message = f"{why}\nrelease {previous.id} runs again"
        if not back.did.instances:
            message = f"{why}\nrelease {previous.id} went on running"
        for name, said in back.scene.forgiven.items():
            message += f"\n{name} of that release did not end well any more: {said}"
        return Outcome("restored", asked, previous.id, True, message, failed.did.to_dict())

    def _retire(self, gone: Release | None, stays: Release) -> None:
        """Take away what one release had beside its instances and the other has not."""
        if gone is None or gone.id == stays.id:
            return
        self._find_driver(stays.topology, self._layout).runtime.retire_networks(stays)
        if gone.topology != stays.topology:
            self._find_driver(gone.topology, self._layout).retire(gone, stays)
        else:
            systemd.withdraw(gone, self._layout, stays)

    # -- small things ---------------------------------------------------------------------

    def _rollout(
        self,
        release: Release,
        restart: Any,
        *,
        restoring: bool = False,
        held: list[str] | None = None,
    ) -> Rollout:
        rollout, probe = release.manifest.rollout, release.manifest.probe
        limits = Limits(
            start=self._request.start_timeout,
            gate=self._request.gate_timeout,
            drain=rollout.drain_seconds,
            monitor=rollout.monitor_seconds,
            smoke=probe.timeout_seconds,
            one_off=rollout.hook_timeout_seconds,
        )
        find = self._find_driver(release.topology, self._layout)
        scene = Scene(self._layout, release, find, self._traffic, limits, restoring)
        scene.first = self._previous is None
        known = held if held is not None else self._marker.get("held")
        return Rollout(scene, self._journal, restart=restart, held=known)

    def _finish(self, outcome: Outcome, began: float, rollout: Rollout | None) -> Outcome:
        try:
            outcome.warnings += [f"{line}: nobody reaches it" for line in self._traffic.unheard()]
        except Exception as trouble:
            self._journal.note("left", message=_why(trouble))
        outcome.warnings += [
            f"{turned['path']} changed hands, but for {turned['left']} of what lies in it: the "
            f"journal names what stayed"
            for turned in outcome.did.get("owners", ())
            if turned["left"]
        ]
        if outcome.outcome != "unchanged" and self._release is not None:
            try:
                self._write_receipt(outcome, self._release, began, rollout)
            except Exception as trouble:
                # What was done is done.
                outcome.warnings.append(f"no receipt could be written: {_why(trouble)}")
        return outcome

    def _write_receipt(
        self, outcome: Outcome, release: Release, began: float, rollout: Rollout | None
    ) -> None:
        with self._journal.phase("receipt"):
            facts = receipt.Facts(
                request=asdict(self._request),
                outcome=outcome.to_dict(),
                before=self._before(),
                after=release,
                runtime=self._find_driver(release.topology, self._layout).runtime,
                figures=self._traffic.figures(),
                phases=dict(self._journal.phases),
                migrations=self._migrations,
                hooks=self._hooks,
                began=began,
                edge_kind=self._traffic.kind(),
                verdict=self._traffic.judged(),
                cut=self._traffic.cut,
            )
            units = [unit.name for unit in rollout.scene.units] if rollout else []
            outcome.receipt, trouble = receipt.write(facts, units)
            outcome.warnings += [trouble] if trouble else []


def _why(trouble: Exception) -> str:
    """Return what went wrong in one sentence; of a fault of our own also where."""
    if isinstance(trouble, (*FAILURES, ValueError)) and str(trouble):
        return str(trouble)
    frame = traceback.extract_tb(trouble.__traceback__)[-1]
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"this is a fault of Moorage itself: {type(trouble).__name__}: {trouble} ({where})"
