"""From what a host runs to what a release describes, without letting a visitor down.

New containers start beside the old ones, pass the gate and a smoke check there, and then the edge
sends visitors to them; the old ones end when nobody is with them any more. What cannot run twice
is replaced in its place, and the time without it is noted.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from moorage.deploy import docker, health
from moorage.deploy.difference import Difference, difference, leftovers
from moorage.deploy.docker import Compose, Container
from moorage.deploy.gate import Check, GateClosed, wait_until_healthy
from moorage.deploy.journal import Journal
from moorage.deploy.layout import Layout
from moorage.deploy.release import Release
from moorage.deploy.topology import Gap, Topology
from moorage.deploy.traffic import BudgetSpent, Traffic, pools_of
from moorage.deploy.unit import NEXT, Unit, batches, units_of

_STOP_MARGIN_SECONDS = 60.0


class Paused(Exception):
    """A service's failure_action is pause: everything stays as it is at this moment."""


@dataclass(frozen=True)
class Limits:
    """How long what may take, in seconds."""

    start: float = 300.0
    gate: float = 120.0
    drain: float = 10.0
    monitor: float = 0.5
    smoke: float = 2.0


@dataclass
class Did:
    """What a rollout did. ``changed`` also tells of what has no name here."""

    changed: bool = False
    containers: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    processes: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    singleton_gaps: list[Gap] = field(default_factory=list)
    in_place_gaps: list[Gap] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        plain = dict(self.__dict__)
        for name in ("singleton_gaps", "in_place_gaps"):
            plain[name] = [gap.to_dict() for gap in plain[name]]
        return plain


class Rollout:
    """Brings one stack on this host to one release."""

    def __init__(
        self,
        layout: Layout,
        release: Release,
        driver: Topology,
        traffic: Traffic,
        journal: Journal,
        limits: Limits,
        *,
        restart: Collection[str] = (),
        restoring: bool = False,
        held: Sequence[str] | None = None,
    ) -> None:
        self.release = release
        self.units = units_of(release)
        self.did = Did()
        self._layout = layout
        self._driver = driver
        self._traffic = traffic
        self._journal = journal
        self._limits = limits
        self._restart = list(restart)
        self._restoring = restoring
        self._known_held = held
        self._compose = Compose(layout.stack, release.compose_file)
        self._found: dict[str, Container] = {}
        self._todo = Difference()
        self._routed = False

    # -- what there is, and what there is to do -------------------------------------------

    def prepare(self) -> Difference:
        """Finish with what an interrupted rollout has left, and find what there is to do."""
        self._tidy()
        self._look()
        containers = list(self._found.values())
        found = self._driver.held(self.release, containers)
        # While it is under way, what was handed over looks as if somebody had stopped it.
        self.did.held = found if self._known_held is None else list(self._known_held)
        stale = self._driver.stale(self.release, self._found, self._restart)
        self._todo = difference(self.units, containers, held=self.did.held, anew=stale)
        return self._todo

    def install(self) -> None:
        """Put in place what the release brings beside its containers."""
        self.did.units = self._driver.install(self.release)
        if not self.release.manifest.get("edge") and self._traffic.routed():
            # The edge lets go of the ports first: what comes now publishes them itself.
            self._traffic.route(self.release)

    def _look(self) -> dict[str, Container]:
        self._found = {c.name: c for c in docker.containers_of(self._layout.stack)}
        return self._found

    def _tidy(self) -> None:
        containers = docker.containers_of(self._layout.stack)
        wanted = {unit.name: unit.config for unit in self.units}
        left = leftovers(containers, self._traffic.serving(), wanted)
        if left.remove:
            live = {c.name: c for c in containers if not c.name.endswith(NEXT)}
            back = {k: v for k, v in pools_of(self.release, self.units, live).items() if v}
            if self._traffic.routed():
                self._traffic.switch(back)
            docker.remove([c.name for c in left.remove])
        self._replace(left.finish)
        for name in left.rename:
            docker.rename(name + NEXT, name)
        if left.remove or left.finish or left.rename:
            self.did.changed = True

    # -- phases ---------------------------------------------------------------------------

    def base(self) -> None:
        """Replace in place what others stand on, and run what has to end before they start."""
        later = {u.service for u in self._todo.roll if u.name not in self._found}
        for unit in list(self._todo.place):
            if unit.singleton or set(unit.needs) & later:
                continue
            self._todo.place.remove(unit)
            with self._journal.phase("migrate" if unit.one_off else "start"):
                self._place(unit)

    def roll(self) -> None:
        """Replace, wave by wave, what can have its successor beside it."""
        waves = batches(self._todo.roll, self._restoring)
        for wave in waves:
            try:
                self._wave(wave)
            except (GateClosed, BudgetSpent, health.Unfit) as trouble:
                self._on_failure(wave, trouble)
            if wave is not waves[-1]:
                time.sleep(max(self._policy(unit).delay for unit in wave))

    def finish(self) -> None:
        """Do what comes after the switch: remove, hand over, and put right what was not touched."""
        with self._journal.phase("stop"):
            self._remove_extra()
        with self._journal.phase("handover"):
            for unit in self._todo.place:
                self._place(unit)
            self._make_idle()
            for unit in self.units:
                container = self._look().get(unit.name) if self._adaptable(unit) else None
                if container is not None and container.state == "running":
                    self._adapt(unit, container)
            if self._todo.start:
                docker.run(["start", *(c.name for c in self._todo.start)])
                self.did.containers += [c.name for c in self._todo.start]
        with self._journal.phase("gate"):
            checks = self.wait()
            self._journal.note("healthy", services={c.service: c.detail for c in checks})
        self._settle_pools()
        did = self.did
        did.changed = did.changed or bool(did.containers or did.removed or did.processes)
        did.changed = did.changed or bool(did.units)

    def wait(self) -> Sequence[Check]:
        """Wait until everything that is meant to run is well; raises GateClosed."""
        return wait_until_healthy(self._checks, self._limits.gate)

    # -- one wave -------------------------------------------------------------------------

    def _wave(self, wave: list[Unit]) -> None:
        stop_first = [u for u in wave if self._policy(u).order == "stop-first"]
        if stop_first:
            self._make_room([u for u in stop_first if u.name in self._found])
        for level in _levels(wave, self._found):
            with self._journal.phase("start"):
                self._start(level)
            with self._journal.phase("gate"):
                self._gate(level)
        if not self._restoring:
            with self._journal.phase("gate"):
                health.smoke(self.release, wave, self._next(wave), self._limits.smoke)
        with self._journal.phase("switch"):
            self._switch(wave)
        if not self._restoring:
            with self._journal.phase("monitor"):
                self._monitor(wave)
        self._retire_old(wave)
        self.did.containers += [unit.name for unit in wave]

    def _start(self, units: list[Unit]) -> None:
        keys = []
        for unit in units:
            old = self._found.get(unit.name)
            slot = unit.free_slot(old.slot if old else "")
            self._driver.prepare(self.release, unit, slot, old, self.did.held)
            keys.append(unit.keys[slot])
        self._compose.up(keys, timeout_seconds=self._limits.start)
        self._look()

    def _gate(self, units: list[Unit]) -> None:
        names = {unit.next_name for unit in units}

        def look() -> list[Check]:
            return [c for name, unit in self._pairs(names) for c in self._check(unit, name)]

        wait_until_healthy(look, self._limits.gate)

    def _switch(self, wave: list[Unit]) -> None:
        if not self._routed:
            self._routed = True
            self._free_ports()
            self._traffic.route(self.release)
        self._traffic.switched()
        found = self._look()
        live = {u.name: found.get(u.next_name) or found.get(u.name) for u in self.units}
        self._traffic.switch(self._pools(wave, {k: v for k, v in live.items() if v}))

    def _monitor(self, wave: list[Unit]) -> None:
        own = [m for u in wave if (m := self._policy(u).monitor) is not None]
        seconds = max(own, default=self._limits.monitor)
        names = {unit.next_name for unit in wave}

        def look() -> list[Check]:
            self._look()
            return [c for name, unit in self._pairs(names) for c in self._check(unit, name)]

        self._traffic.monitor(seconds, look)

    def _retire_old(self, wave: list[Unit]) -> None:
        old = [c for u in wave if (c := self._found.get(u.name)) is not None]
        with self._journal.phase("drain"):
            left = self._traffic.drain([p for c in old for p in c.peers], self._limits.drain)
            if left:
                self._journal.note("cut off", in_flight=left, after_seconds=self._limits.drain)
        if any(unit.singletons for unit in wave):
            with self._journal.phase("stop"):
                self._remove_extra()
        with self._journal.phase("handover"):
            for unit in wave:
                new = self._found[unit.next_name]
                gaps = self._driver.hand_over(self.release, unit, self._found.get(unit.name), new)
                self.did.singleton_gaps += gaps
            if any(unit.singletons for unit in wave):
                self._gate(wave)
        with self._journal.phase("stop"):
            self._replace([unit.name for unit in wave])
        self._look()

    def _replace(self, names: Sequence[str]) -> None:
        """Let the candidates take the places of the old containers."""
        there = {c.name: c for c in docker.containers_of(self._layout.stack)} if names else {}
        old = [name for name in names if name in there]
        docker.stop(
            [n for n in old if there[n].state == "running"], timeout_seconds=self._longest_stop()
        )
        docker.remove(old)
        for name in names:
            docker.rename(name + NEXT, name)

    def _on_failure(self, wave: list[Unit], trouble: Exception) -> None:
        if self._restoring:
            raise trouble
        policy = self._policy(wave[0])
        self._abandon(wave)
        total = sum(1 for u in self.units if u.service == wave[0].service)
        self.did.behind += [unit.name for unit in wave]
        tolerated = len(self.did.behind) / total <= policy.max_failure_ratio
        if policy.failure_action == "continue" or tolerated:
            self._journal.note("left behind", containers=self.did.behind, message=str(trouble))
            return
        if policy.failure_action == "pause":
            raise Paused(f"{trouble}\nfailure_action is pause: everything stays as it is") from None
        raise trouble

    def _abandon(self, wave: list[Unit]) -> None:
        """Send visitors back to what is still there, and remove what was to replace it."""
        found = self._look()
        live = {name: c for name, c in found.items() if not name.endswith(NEXT)}
        pools = {k: v for k, v in self._pools(wave, live).items() if v}
        if self._traffic.routed():
            self._traffic.switch(pools)
        for unit in wave:
            old = found.get(unit.name)
            if old is not None and unit.singletons and old.state == "running":
                self._driver.take_back(self.release, unit, old, self.did.held)
        docker.remove([u.next_name for u in wave if u.next_name in found])
        self._look()

    # -- in place -------------------------------------------------------------------------

    def _place(self, unit: Unit) -> None:
        old = self._found.get(unit.name)
        runs = old is not None and old.state == "running" and not unit.one_off
        if runs and old is not None:
            docker.stop([old.name], timeout_seconds=self._longest_stop())
        began = time.monotonic()
        self._driver.prepare(self.release, unit, "", old, self.did.held)
        self._compose.up([unit.keys[""]], timeout_seconds=self._limits.start)
        started = time.monotonic() - began
        self._look()
        names = {unit.name}

        def look() -> list[Check]:
            self._look()
            return [c for name, u in self._pairs(names) for c in self._check(u, name)]

        with self._journal.phase("gate" if not unit.one_off else "migrate"):
            wait_until_healthy(look, self._limits.gate)
        if runs and unit.singleton:
            self.did.singleton_gaps.append(Gap(unit.service, started))
        elif runs:
            self.did.in_place_gaps.append(Gap(unit.service, time.monotonic() - began))
        self.did.containers.append(unit.name)

    def _make_room(self, units: list[Unit]) -> None:
        """Take old replicas away before their successors start; visitors wait in the edge."""
        gone = {unit.name for unit in units}
        live = {n: c for n, c in self._found.items() if n not in gone}
        with self._journal.phase("switch"):
            self._traffic.switch(self._pools(units, live), self._limits.gate)
        old = [self._found[name] for name in sorted(gone)]
        with self._journal.phase("drain"):
            self._traffic.drain([p for c in old for p in c.peers], self._limits.drain)
        with self._journal.phase("stop"):
            running = [c.name for c in old if c.state == "running"]
            docker.stop(running, timeout_seconds=self._longest_stop())
            docker.remove(sorted(gone))
        self._look()

    def _make_idle(self) -> None:
        """Make what is not to run: held services, and those that start on demand."""
        for unit in self._todo.create:
            old = self._found.get(unit.name)
            slot = unit.free_slot(old.slot if old else "")
            self._driver.prepare(self.release, unit, slot, old, self.did.held)
            self._compose.create([unit.keys[slot]], timeout_seconds=self._limits.start)
            if unit.rolled:
                self._replace([unit.name])
            if old is not None or not unit.on_demand:
                self.did.containers.append(unit.name)

    def _adaptable(self, unit: Unit) -> bool:
        return bool(unit.processes) or unit.service in self._restart

    def _adapt(self, unit: Unit, container: Container) -> None:
        replaced = unit.name in self.did.containers
        restart = [] if replaced else self._restart
        if self._restoring and unit.singletons:
            self._driver.take_back(self.release, unit, container, self.did.held)
        touched = self._driver.adapt(self.release, unit, container, restart)
        self.did.processes += touched

    def _remove_extra(self) -> None:
        extra = [c.name for c in self._todo.extra if c.name in self._look()]
        running = [n for n in extra if self._found[n].state == "running"]
        self._traffic.drain([p for n in extra for p in self._found[n].peers], self._limits.drain)
        docker.stop(running, timeout_seconds=self._longest_stop())
        docker.remove(extra)
        self.did.removed += extra

    # -- small things ---------------------------------------------------------------------

    def _free_ports(self) -> None:
        """Stop what publishes a port itself that the edge is about to open."""
        wanted = self._traffic.new_listeners(self.release)
        mine = {unit.name for unit in self.units if not unit.rolled}
        holders = [
            c.name
            for c in self._found.values()
            if c.state == "running" and c.name not in mine
            if any(p.address != docker.LOOPBACK and p.port in wanted for p in c.published)
        ]
        if holders:
            self._journal.note("moving behind the edge", stopped=holders)
            docker.stop(holders, timeout_seconds=self._longest_stop())

    def _settle_pools(self) -> None:
        """Have the edge know exactly the containers that there are."""
        if not self.release.manifest.get("edge"):
            return
        if self._traffic.route(self.release):
            self.did.changed = True
        wanted = pools_of(self.release, self.units, self._look())
        there = self._traffic.pools()
        wrong = {k: v for k, v in wanted.items() if sorted(there.get(k, [])) != sorted(v)}
        if wrong:
            self._traffic.switch(wrong)
            self.did.changed = True

    def _pools(self, units: Sequence[Unit], live: dict[str, Container]) -> dict[str, list[str]]:
        facts = self.release.manifest.get("edge") or {}
        concerned = {
            name
            for name, pool in facts.get("pools", {}).items()
            if any(unit.serves(str(pool["service"])) for unit in units)
        }
        pools = pools_of(self.release, self.units, live)
        return {name: peers for name, peers in pools.items() if name in concerned}

    def _next(self, wave: Sequence[Unit]) -> dict[str, str]:
        return {u.name: self._found[u.next_name].slot for u in wave}

    def _pairs(self, names: Collection[str]) -> list[tuple[str, Unit]]:
        return [(n, u) for u in self.units for n in (u.name, u.next_name) if n in names]

    def _check(self, unit: Unit, name: str) -> Sequence[Check]:
        container = self._found.get(name)
        if container is None:
            return [Check(unit.service, False, f"its container {name} does not exist", True)]
        if health.answers(unit, container):
            return [Check(unit.service, True, f"{container.state}, answers")]
        if unit.health_url is not None or not container.settled:
            self._look()
        return self._driver.checks(unit, self._found.get(name, container))

    def _checks(self) -> list[Check]:
        self._look()
        found = [c for u in self.units if not self._idle(u) for c in self._check(u, u.name)]
        return [*found, *self._driver.beside(self.release)]

    def _idle(self, unit: Unit) -> bool:
        return unit.service in self.did.held

    def _policy(self, unit: Unit) -> Any:
        return unit.rollback if self._restoring else unit.update

    def _longest_stop(self) -> float:
        longest = max((unit.stop_seconds for unit in self.units), default=0.0)
        return longest + _STOP_MARGIN_SECONDS


def _levels(wave: list[Unit], there: Collection[str]) -> list[list[Unit]]:
    """Return which units of a wave start together; one waits for those that it needs.

    What runs already is not waited for: its successor comes at the same time.
    """
    missing = {unit.service for unit in wave if unit.name not in there}
    levels: list[list[Unit]] = []
    rest = list(wave)
    while rest:
        waiting = {unit.service for unit in rest} & missing
        ready = [u for u in rest if not (set(u.needs) & waiting - {u.service})] or rest
        levels.append(ready)
        rest = [unit for unit in rest if unit not in ready]
    return levels
