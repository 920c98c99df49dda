"""Replacing what can have its successor beside it: wave by wave, and back when one fails."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import ExitStack

from moorage.deploy import health
from moorage.deploy.drivers.base import Gap
from moorage.deploy.gate import Check, GateClosed, wait_until_healthy
from moorage.deploy.journal import Journal
from moorage.deploy.scene import Scene
from moorage.deploy.traffic import BudgetSpent
from moorage.release.manifest import Unit, batches, is_of


class Paused(Exception):
    """A service's failure_action is pause: everything stays as it is at this moment."""


class Waves:
    """Replaces the rolled units of a release."""

    def __init__(
        self, scene: Scene, journal: Journal, extra: list[str], waiting: ExitStack
    ) -> None:
        self._scene = scene
        # What ends when the first of them serve.
        self._waiting = waiting
        self._journal = journal
        # What nothing describes any more, singletons of another form perhaps among it.
        self._extra = extra
        self._routed = False

    def run(self, units: list[Unit]) -> None:
        """Replace the units; raises what made one of them fail."""
        # Who shares a directory that changes hands cannot be beside one of before, and no visitor
        # is to be led to one of before whose data are gone.
        scene = self._scene
        together = [unit.name for unit in units if scene.parted or scene.turning(unit)]
        waves = batches(units, scene.restoring, together)
        if units:
            there = (self._scene.found.get(unit.name) for unit in units)
            self._scene.traffic.replacing(peer for old in there if old for peer in old.peers)
        for wave in waves:
            try:
                self._wave(wave)
            except (GateClosed, BudgetSpent, health.Unfit) as trouble:
                self._on_failure(wave, trouble)
            if wave is not waves[-1]:
                time.sleep(max(self._scene.policy(unit).delay for unit in wave))

    def _wave(self, wave: list[Unit]) -> None:
        scene, phase = self._scene, self._journal.phase
        turning = [unit for unit in wave if scene.turning(unit)]
        first = [u for u in wave if scene.policy(u).order == "stop-first" or u in turning]
        room = [unit for unit in first if unit.name in scene.found]
        alone = [u for u in room if u in turning or not all(scene.without([u]).values())]
        alone += [u for u in turning if u not in room and scene.holders(u)]
        with ExitStack() as apart:
            if alone:
                # Nobody is left to serve: visitors wait in the edge.
                apart.enter_context(scene.traffic.apart(scene.hold_seconds))
            began = time.monotonic()
            self._make_room(room)
            self._start(wave)
            with phase("switch"):
                self._switch(wave)
            self._waiting.close()
            seconds = time.monotonic() - began
        scene.did.in_place_gaps += [Gap(unit.service, seconds) for unit in alone]
        if not scene.restoring:
            with phase("monitor"):
                self._monitor(wave)
        self._relieve(wave)
        scene.did.instances += [unit.name for unit in wave]

    def _start(self, wave: list[Unit]) -> None:
        """Start what is new, and wait until it serves."""
        scene, phase = self._scene, self._journal.phase
        gently = not scene.restoring and bool(scene.traffic.serving())
        try:
            for level in levels(wave, scene.found):
                with phase("start"):
                    for unit in level:
                        scene.make_way(unit)
                    scene.make(level)
                    if gently:
                        new = (scene.found.get(unit.next_name) for unit in level)
                        scene.gentle.begin(c.pid for c in new if c and c.pid)
                with phase("gate"):
                    self._gate(level)
        finally:
            scene.gentle.end()
        if not scene.restoring:
            with phase("gate"):
                self._smoke(wave)

    def _gate(self, units: list[Unit]) -> None:
        look, gentle = self._scene.looker({u.next_name for u in units}), self._scene.gentle

        def looked() -> list[Check]:
            gentle.end_when_due()
            return look()

        wait_until_healthy(looked, self._scene.limits.gate)

    def _smoke(self, wave: list[Unit], *, moved: bool = False) -> None:
        scene = self._scene
        slots = {unit.name: scene.found[unit.next_name].slot for unit in wave}
        health.smoke(scene.release, wave, slots, scene.limits.smoke, moved=moved)

    def _switch(self, wave: list[Unit]) -> None:
        scene = self._scene
        if not self._routed:
            self._free_ports()
        # A replica that has ended, as one that was about to go, has nobody until it is started.
        alive = {name: instance for name, instance in scene.look().items() if instance.alive}
        live = {
            unit.name: instance
            for unit in scene.units
            if (instance := alive.get(unit.next_name) or alive.get(unit.name))
        }
        last = scene.moved(wave)
        pools = scene.pools(wave, live)
        pools = {name: peers for name, peers in pools.items() if name not in last}
        if pools or not last:
            # Where all of it moves at the hand-over, visitors are with the old one until then.
            self._switched(wave)
        if not self._routed:
            self._routed = True
            scene.traffic.route(scene.release, pools)
        scene.traffic.switch(pools)

    def _switched(self, wave: list[Unit]) -> None:
        fresh = [c for unit in wave if (c := self._scene.found.get(unit.next_name))]
        self._scene.traffic.switched(peer for instance in fresh for peer in instance.peers)

    def _monitor(self, wave: list[Unit]) -> None:
        scene = self._scene
        own = [m for unit in wave if (m := scene.policy(unit).monitor) is not None]
        seconds = max(own, default=scene.limits.monitor)
        scene.traffic.monitor(seconds, scene.looker({unit.next_name for unit in wave}))

    def _relieve(self, wave: list[Unit]) -> None:
        """Let the old instances end, once nobody is with them any more."""
        scene, phase = self._scene, self._journal.phase
        old = [unit.name for unit in wave if unit.name in scene.found]
        with phase("drain"):
            left = scene.drain(old, self._staying(wave))
            if left:
                self._journal.note("cut off", in_flight=left, after_seconds=scene.limits.drain)
        if any(unit.singletons for unit in wave):
            with phase("handover"):
                self._hand_over(wave)
        with phase("stop"):
            scene.succeed([unit.name for unit in wave])

    def _staying(self, wave: list[Unit]) -> list[str]:
        """Return the peers to which visitors still go until the hand-over."""
        pools = self._scene.traffic.pools()
        return [peer for name in self._scene.moved(wave) for peer in pools.get(name, [])]

    def _hand_over(self, wave: list[Unit]) -> None:
        """Hand over what must not run twice: while visitors wait what they visit, then the rest."""
        scene, pools = self._scene, self._scene.moved(wave)
        visited = sorted({pool.rpartition(":")[0] for pool in pools})
        # Where another form of it goes, nobody knows who waits for whom in that.
        apart = visited if pools and not self._extra else None
        if pools:
            with scene.traffic.apart(scene.hold_seconds):
                leaving = self._staying(wave)
                scene.traffic.switch(dict.fromkeys(pools, ()), scene.hold_seconds)
                began = time.monotonic()
                scene.traffic.drain(leaving, scene.limits.drain)
                gaps = self._handed_over(wave, apart)
                if not scene.restoring:
                    self._smoke(wave, moved=True)
                scene.traffic.switch(pools)
                seconds = time.monotonic() - began
            self._switched(wave)
            scene.did.singleton_gaps += [
                gap for gap in gaps if not any(is_of(gap.service, name) for name in visited)
            ]
            # Where nobody served there is nothing that was away.
            scene.did.singleton_gaps += [Gap(name, seconds) for name in visited if leaving]
        if apart or not pools:
            scene.did.singleton_gaps += self._handed_over(wave, None)

    def _handed_over(self, wave: list[Unit], services: Collection[str] | None) -> list[Gap]:
        scene, gaps = self._scene, list[Gap]()
        scene.remove(self._extra)
        for unit in wave:
            new, old = scene.found[unit.next_name], scene.found.get(unit.name)
            gaps += scene.driver.hand_over(scene.release, unit, old, new, services)
        self._gate(wave)
        return gaps

    def _make_room(self, units: list[Unit]) -> None:
        """Take old replicas away before their successors start; visitors wait in the edge."""
        scene, phase = self._scene, self._journal.phase
        gone = [unit.name for unit in units if unit.name in scene.found]
        if not gone:
            return
        with phase("switch"):
            scene.keep_waiting(units)
        with phase("drain"):
            scene.drain(gone)
        with phase("stop"):
            scene.clear(gone)

    def _free_ports(self) -> None:
        """Stop what publishes a port itself that the edge is about to open."""
        scene = self._scene
        wanted = scene.traffic.new_listeners(scene.release)
        staying = {unit.name for unit in scene.units if not unit.rolled}
        holders = [
            c.name
            for c in scene.found.values()
            if c.state == "running" and c.name not in staying
            if any(p.port in wanted for p in c.published)
        ]
        if holders:
            self._journal.note("moving behind the edge", stopped=holders)
            scene.stop(holders)

    # -- when one fails -------------------------------------------------------------------

    def _on_failure(self, wave: list[Unit], trouble: Exception) -> None:
        scene = self._scene
        if scene.restoring or scene.first or scene.parted:
            # Also where who stays as he is would not reach his data.
            raise trouble
        policy = scene.policy(wave[0])
        if policy.failure_action == "pause":
            said = f"{trouble}\nfailure_action is pause: everything stays as it is"
            raise Paused(said) from None
        behind = [*scene.did.behind, *(unit.name for unit in wave)]
        total = sum(1 for unit in scene.units if unit.service == wave[0].service)
        too_many = len(behind) / total > policy.max_failure_ratio
        # Who stays behind has to find his directories as he left them.
        shut_out = bool(scene.did.owners)
        if shut_out or (policy.failure_action != "continue" and too_many):
            raise trouble
        self._abandon(wave)
        scene.did.behind = behind
        self._journal.note("left behind", instances=scene.did.behind, message=str(trouble))

    def _abandon(self, wave: list[Unit]) -> None:
        """Send visitors back to what is still there, and remove what was to replace it."""
        scene = self._scene
        found = scene.look()
        given_up = [unit.next_name for unit in wave if unit.next_name in found]
        scene.go_back(wave, given_up, scene.did.held)
        scene.look()


def levels(wave: list[Unit], there: Collection[str]) -> list[list[Unit]]:
    """Return which units of a wave start together; one waits for those that it needs.

    What runs already is not waited for: its successor comes at the same time.
    """
    missing = {unit.service for unit in wave if unit.name not in there}
    found: list[list[Unit]] = []
    rest = list(wave)
    while rest:
        waiting = {unit.service for unit in rest} & missing
        ready = [u for u in rest if not (set(u.needs) & waiting - {u.service})] or rest
        found.append(ready)
        rest = [unit for unit in rest if unit not in ready]
    return found
