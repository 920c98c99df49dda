"""From what a host runs to what a release describes, without letting a visitor down.

New instances start beside the old ones, pass the gate and a smoke check there, and then the edge
sends visitors to them; the old ones end when nobody is with them any more. What cannot run twice
is replaced in its place, and the time without it is noted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from moorage.common.files import write_atomically
from moorage.common.readers import read_names
from moorage.deploy import health
from moorage.deploy.difference import Difference, Leftovers
from moorage.deploy.drivers.base import Gap
from moorage.deploy.gate import GateClosed, wait_until_healthy
from moorage.deploy.instance import Instance
from moorage.deploy.journal import Journal
from moorage.deploy.places import make_places
from moorage.deploy.planning import Plan, plan
from moorage.deploy.runtimes.base import RuntimeFault
from moorage.deploy.runtimes.seeding import seed
from moorage.deploy.scene import Scene
from moorage.deploy.traffic import pools_of
from moorage.deploy.waves import Waves
from moorage.release.layout import Layout
from moorage.release.manifest import DEFAULT_PIDS, Unit
from moorage.release.names import NEXT


class Rollout:
    """Brings one stack on this host to one release.

    ``restart`` names services that start anew in any case; ``held`` those that somebody has
    stopped, where that is known from before.
    """

    def __init__(
        self,
        scene: Scene,
        journal: Journal,
        *,
        restart: Collection[str] = (),
        held: Sequence[str] | None = None,
    ) -> None:
        self.scene = scene
        self.release = scene.release
        self.did = scene.did
        self._journal = journal
        scene.note = journal.note
        self._restart = list(restart)
        self._known_held = held
        # Processes that the last rollout had stopped, and that run again where they did.
        self._started: list[str] = []
        self._plan = Plan(Difference(), Leftovers(), [], [])

    def prepare(self) -> Plan:
        """Finish with what an interrupted rollout has left; return all that there is to do."""
        scene = self.scene
        scene.gentle.end()
        found = self._plan = plan(scene, self._restart, self._known_held)
        self._journal.note("planned", operations=[str(op) for op in found.operations])
        if found.left:
            self._tidy(found.left)
            # What ended meanwhile was taken away instead of being given its name.
            self._plan = plan(scene, self._restart, self._known_held)
        self.did.held = self._plan.held
        _note_held(scene.layout, self.did.held)
        return found

    @property
    def moving(self) -> list[Unit]:
        """The data services that change their form, which nobody reaches but who has the same.

        Of one that was in the middle of it, nothing may be there, or what was never started.
        """
        kinds = {instance.kind for instance in self.scene.found.values()}
        if kinds <= {self.release.manifest.kind}:
            return []
        todo = self._plan.todo
        due = {unit.name for unit in todo.place} | {instance.name for instance in todo.start}
        return [unit for unit in self.scene.units if unit.data and unit.name in due]

    def run(self, moved: Callable[[], None] = lambda: None) -> None:
        """Do it; raises what stood against it, and leaves the way back to the caller.

        ``moved`` is called when data services have changed their form.
        """
        self._install()
        extra = [instance.name for instance in self._plan.todo.extra]
        with ExitStack() as waiting:
            if moving := self.moving:
                waiting.enter_context(self._move(moving))
                moved()
            self._base()
            Waves(self.scene, self._journal, extra, waiting).run(self._plan.todo.roll)
        with self._journal.phase("stop"):
            self.scene.remove(extra)
        with self._journal.phase("handover"):
            self._rest()
        with self._journal.phase("gate"):
            checks = wait_until_healthy(self.scene.everything, self.scene.limits.gate)
            self._journal.note("healthy", services={c.service: c.detail for c in checks})
        self._settle_pools()

    def take_back(self) -> None:
        """Have everything run again that was stopped for a hand-over."""
        scene = self.scene
        for unit in scene.units:
            instance = scene.found.get(unit.name)
            if unit.singletons and instance is not None and instance.state == "running":
                scene.driver.take_back(self.release, unit, instance, self.did.held)

    def _tidy(self, left: Leftovers) -> None:
        scene = self.scene
        if left.remove:
            if scene.restoring:
                # The failed release may have had other pools than this one.
                scene.traffic.route(self.release)
            names = [instance.name for instance in left.remove]
            held, serving = self._plan.held, not (self.moving or scene.parted)
            self._started = scene.go_back(scene.units, names, held, serving=serving)
        scene.succeed(left.finish)
        for name in left.rename:
            scene.runtime.rename_if_it_runs(name + NEXT, name)
        self.did.changed = True

    def _install(self) -> None:
        scene = self.scene
        made = make_places(scene.layout, self.release)
        if made:
            self._journal.note("made", paths=made)
        self.did.units = scene.driver.install(self.release)
        for path, image in seed(scene.layout, self.release):
            self._journal.note("seeded", path=path, image=image)
        if not self.release.manifest.edge and scene.traffic.routed():
            # The edge lets go of the ports first: what comes now publishes them itself.
            scene.traffic.route(self.release)

    def _base(self) -> None:
        """Replace in place what others stand on, and run what has to end before they start."""
        there = self.scene.found
        later = {unit.service for unit in self._plan.todo.roll if unit.name not in there}
        for unit in list(self._plan.todo.place):
            if unit.singleton or set(unit.needs) & later:
                continue
            self._plan.todo.place.remove(unit)
            with self._journal.phase("migrate" if unit.one_off else "start"):
                try:
                    self._place(unit)
                except GateClosed as trouble:
                    if not (unit.one_off and self.scene.restoring):
                        raise
                    # What the others start on has served them before, whatever it has become.
                    self._journal.note("failed", unit=unit.name, message=str(trouble))
                    self.scene.forgiven[unit.name] = str(trouble)

    @contextmanager
    def _move(self, moving: Sequence[Unit]) -> Iterator[None]:
        """Change the form of data services; visitors wait until those serve who reach them."""
        scene, began, todo = self.scene, time.monotonic(), self._plan.todo
        todo.place = [unit for unit in todo.place if unit not in moving]
        todo.start = [c for c in todo.start if c.name not in {unit.name for unit in moving}]
        with scene.traffic.apart(scene.hold_seconds):
            try:
                scene.lead_away(scene.found)
                scene.drain(list(scene.found))
                for unit in moving:
                    old = scene.found.get(unit.name)
                    with self._journal.phase("start"):
                        self._replace(unit, old is not None and old.state == "running")
                    self.did.instances.append(unit.name)
                yield
                if not todo.roll:
                    # Those of before serve again.
                    scene.send_back(scene.units)
            finally:
                seconds = time.monotonic() - began
                self.did.in_place_gaps += [Gap(unit.service, seconds) for unit in moving]

    def _place(self, unit: Unit) -> None:
        old = self.scene.found.get(unit.name)
        ran = old is not None and old.state == "running" and not unit.one_off
        if ran or self.scene.holders(unit):
            visited = bool(self.scene.without([unit]))
            with self.scene.traffic.apart(self.scene.hold_seconds if visited else 0.0):
                started, well = self._replace(unit, ran)
            gaps = self.did.singleton_gaps if unit.singleton else self.did.in_place_gaps
            alone = unit.singleton and not visited
            gaps.append(Gap(unit.service, started if alone else well))
        else:
            self._replace(unit, ran)
        self.did.instances.append(unit.name)

    def _replace(self, unit: Unit, ran: bool) -> tuple[float, float]:
        """Return the seconds from the stop to the start, and those in which nobody was served."""
        scene = self.scene
        away = time.monotonic()
        if ran:
            scene.keep_waiting([unit])
            scene.drain([unit.name])
            scene.stop([unit.name])
        scene.make_way(unit)
        old = scene.found.get(unit.name)
        if old is not None and old.slot:
            # It was one of two that could be side by side: it has another key.
            scene.stop([unit.name])
            scene.runtime.remove([unit.name])
        began = time.monotonic()
        scene.make([unit])
        started = time.monotonic() - began
        # A migration may take as long as a hook does.
        longest = max(scene.limits.gate, scene.limits.one_off if unit.one_off else 0.0)
        wait_until_healthy(scene.looker({unit.name}), longest)
        limit = scene.limits.smoke
        if ran and not scene.restoring:
            health.smoke(scene.release, [unit], {unit.name: scene.found[unit.name].slot}, limit)
        scene.send_back([unit])
        return started, time.monotonic() - away

    def _rest(self) -> None:
        """Hand over what must not run twice, and put right what was not touched."""
        scene = self.scene
        for unit in self._plan.todo.place:
            self._place(unit)
        self._make_idle(self._plan.todo.create)
        # What no new instance has asked for; what starts again finds it as it left it.
        scene.hand_over()
        for unit in scene.units:
            instance = scene.look().get(unit.name)
            if instance is not None and instance.state == "running":
                self._limit(instance)
                if unit.name not in self.did.behind:
                    # Its processes are those of before, too.
                    self._adapt(unit, instance)
        if self._plan.todo.start:
            names = [instance.name for instance in self._plan.todo.start]
            scene.runtime.start(names)
            self.did.instances += names

    def _make_idle(self, units: Sequence[Unit]) -> None:
        """Make what is not to run: held services, and those that start on demand."""
        if not units:
            return
        scene, there = self.scene, set(self.scene.found)
        scene.make(units, start=False)
        scene.succeed([unit.name for unit in units if unit.rolled])
        # The first instance of one that starts on demand is nothing that a person asked about.
        seen = (unit.name for unit in units if unit.name in there or not unit.on_demand)
        self.did.instances += seen

    def _limit(self, instance: Instance) -> None:
        """Limit the processes of an instance that was made before there was a default."""
        if instance.pids_limit:
            return
        try:
            self.scene.runtime.limit(instance.name, DEFAULT_PIDS)
        except RuntimeFault as trouble:
            # It runs on as it did; its successor is made with a limit.
            self._journal.note("no limit of processes", unit=instance.name, message=str(trouble))

    def _adapt(self, unit: Unit, instance: Instance) -> None:
        if not unit.processes and unit.service not in self._restart:
            return
        scene, new = self.scene, unit.name in self.did.instances
        restart, held = [] if new else self._restart, self.did.held
        done = scene.driver.adapt(self.release, unit, instance, restart, held)
        again = () if new else (name for name in self._started if name in unit.singletons)
        self.did.processes += sorted({*done, *again})

    def _settle_pools(self) -> None:
        """Have the edge know exactly the instances that there are."""
        scene = self.scene
        if not self.release.manifest.edge:
            return
        found, there = scene.look(), scene.traffic.pools()
        # What stayed behind has not got what the release adds to it.
        behind = {p for name in self.did.behind if name in found for p in found[name].peers}
        wanted = {
            pool: [p for p in peers if p not in behind or p in there.get(pool, ())]
            for pool, peers in pools_of(self.release, scene.units, found).items()
        }
        if scene.traffic.route(self.release, wanted):
            self.did.changed = True
        there = scene.traffic.pools()
        wrong = {k: v for k, v in wanted.items() if sorted(there.get(k, [])) != sorted(v)}
        if wrong:
            scene.traffic.switch(wrong)
            self.did.changed = True


def _note_held(layout: Layout, services: Sequence[str]) -> None:
    """Note the services that somebody has stopped.

    One whose instance was replaced meanwhile looks like one that was never started: the note
    tells them apart.
    """
    if services or read_names(layout.held):
        write_atomically(layout.held, json.dumps(list(services)) + "\n")
