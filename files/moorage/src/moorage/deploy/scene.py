"""A stack's instances on this host, as a rollout sees and changes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from moorage.deploy import health
from moorage.deploy.difference import Turn, free_slot, in_the_way, needs_of, shut_out
from moorage.deploy.drivers.base import Driver, Gap
from moorage.deploy.gate import Check, GateClosed, wait_until_healthy
from moorage.deploy.gentle import Gentle
from moorage.deploy.instance import Instance
from moorage.deploy.owners import Owners
from moorage.deploy.release import Release, read_part
from moorage.deploy.traffic import Traffic, hold_seconds, pools_of
from moorage.release.directory import Composed
from moorage.release.layout import Layout
from moorage.release.manifest import Edge, Policy, Unit
from moorage.release.names import COMPOSE_JSON, NEXT

_STOP_MARGIN_SECONDS = 60.0


@dataclass(frozen=True)
class Limits:
    """How long what may take, in seconds."""

    start: float = 300.0
    gate: float = 120.0
    drain: float = 10.0
    monitor: float = 0.5
    smoke: float = 2.0
    one_off: float = 600.0


@dataclass
class Did:
    """What a rollout did. ``changed`` also tells of what has no name here.

    ``behind`` names instances that stayed on the old release, as their service's
    ``failure_action`` allows. ``owners`` tells which directories changed hands.
    """

    changed: bool = False
    instances: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    processes: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    singleton_gaps: list[Gap] = field(default_factory=list)
    in_place_gaps: list[Gap] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)
    owners: list[dict[str, Any]] = field(default_factory=list)

    @property
    def anything(self) -> bool:
        """Whether the host is another one than before."""
        done = (self.instances, self.removed, self.processes, self.units, self.owners)
        return self.changed or any(done)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        plain = dict(self.__dict__)
        for name in ("singleton_gaps", "in_place_gaps"):
            plain[name] = [gap.to_dict() for gap in plain[name]]
        return {**plain, "changed": self.anything}


class Scene:
    """The units of one release, and the instances that there are."""

    def __init__(
        self,
        layout: Layout,
        release: Release,
        driver: Driver,
        traffic: Traffic,
        limits: Limits,
        restoring: bool = False,
    ) -> None:
        self.layout = layout
        self.stack = layout.stack
        self.release = release
        self.units = release.manifest.units
        self.driver = driver
        self.runtime = driver.runtime
        self.traffic = traffic
        self.limits = limits
        self.restoring = restoring
        # Nothing ran before: what fails is left for people to look at.
        self.first = False
        self.did = Did()
        # One-offs that did not end well on the way back, with what they said.
        self.forgiven: dict[str, str] = {}
        # Where it tells what a person should see: the journal of the rollout.
        self.note: Callable[..., None] = lambda _event, **_facts: None
        self.gentle = Gentle(layout.run / "gentle.json")
        self.found: dict[str, Instance] = {}
        # Those that made room for their successors.
        self._gone: dict[str, Instance] = {}
        described = read_part(release, COMPOSE_JSON, Composed).get("services", {})
        self._described = described
        self._needs = needs_of(self.units, described)
        self.owners = Owners(layout, release, described)

    def look(self) -> dict[str, Instance]:
        """See what there is, by name."""
        self.found = {c.name: c for c in self.runtime.instances(self.stack)}
        return self.found

    @property
    def parted(self) -> bool:
        """Whether data have the form of the release already, and some others do not reach them."""
        there = [(unit, c) for unit in self.units if (c := self.found.get(unit.name))]
        same = {(unit.data, c.kind == self.release.manifest.kind) for unit, c in there}
        return {(True, True), (False, False)} <= same

    def policy(self, unit: Unit) -> Policy:
        """Return how the replicas of the unit's service follow each other."""
        return unit.rollback if self.restoring else unit.update

    # -- making and removing --------------------------------------------------------------

    def make(self, units: Sequence[Unit], *, start: bool = True) -> None:
        """Make new instances: beside the old ones where a unit is rolled, else in their place."""
        keys = []
        for unit in units:
            old = self.found.get(unit.name) or self._gone.get(unit.name)
            there = list(self.found.values())
            slot = free_slot(unit, old.slot if old else "", there, self._described)
            odd = self.driver.prepare(self.release, unit, slot, old, self.did.held)
            if odd:
                self.note("odd", unit=unit.name, found=odd)
            keys.append(unit.keys[slot])
        seconds = self.limits.start
        self.runtime.make(self.release, keys, start=start, timeout_seconds=seconds)
        self.look()

    def stop(self, names: Iterable[str]) -> None:
        """Stop those of the instances that run, each with its own grace."""
        running = [n for n in names if n in self.found and self.found[n].alive]
        graces = [unit.stop_seconds for unit in self.units]
        # What another release has made may take longer than any of this one.
        longest = max([*graces, *(self.found[name].stop_seconds for name in running)], default=0.0)
        self.runtime.stop(running, timeout_seconds=longest + _STOP_MARGIN_SECONDS)

    def clear(self, names: Sequence[str]) -> None:
        """Stop and remove instances to make room for their successors."""
        self.stop(names)
        self._gone.update({name: self.found[name] for name in names if name in self.found})
        self.runtime.remove(names)
        self.look()

    def remove(self, names: Sequence[str]) -> None:
        """Stop and remove instances, after who is with them has left."""
        there = [name for name in names if name in self.look()]
        self.lead_away(there)
        self.drain(there)
        self.stop(there)
        self.runtime.remove(there)
        self.did.removed += there

    def at_work(self, names: Iterable[str]) -> list[str]:
        """Return which of these candidates may be in the middle of a job.

        All that run, but those whose work comes through the edge alone, when it has sent nobody.
        """
        serving = self.traffic.serving()
        return [
            name
            for name in names
            if self.found[name].state == "running"
            if not (peers := self.found[name].peers)
            or self.found[name].supervised
            or serving & set(peers)
        ]

    def give_up(self, names: Sequence[str], at_work: Sequence[str]) -> None:
        """Remove candidates; who is at work has the time to end it that it was made with."""
        # Who has met one of them already has his answer first, as when an old one goes.
        self.drain([name for name in names if self.found[name].state == "running"])
        if at_work:
            self.note("ending", instances=list(at_work))
            self.stop(at_work)
        self.runtime.remove(names)

    def go_back(
        self,
        units: Sequence[Unit],
        names: Sequence[str],
        held: Sequence[str],
        *,
        serving: bool = True,
    ) -> list[str]:
        """Have the old instances of the units serve as before, and remove these candidates.

        ``held`` names what somebody has stopped. Whoever visits what was handed over, or was about
        to be, waits in the edge until the old one has it again; all visitors do where the old ones
        cannot serve yet. Returns what was started there.
        """
        at_work, there = self.at_work(names), self.traffic.pools()
        back = self._back(units) if serving else {}
        if not serving:
            self.lead_away(self.found)
        last = {n: p for n, p in self._moving(units, back).items() if p != there[n]}
        self.traffic.switch({name: peers for name, peers in back.items() if name not in last})
        self.traffic.switch(dict.fromkeys(last, ()), self.hold_seconds)
        self.give_up(names, at_work)
        started = []
        for unit in units:
            old = self.look().get(unit.name)
            if unit.singletons and old is not None and old.state == "running":
                started += self.driver.take_back(self.release, unit, old, held)
        if last:
            with suppress(GateClosed):
                wait_until_healthy(self.looker({unit.name for unit in units}), self.limits.gate)
            self.traffic.switch(last)
        return started

    def turning(self, unit: Unit) -> list[Turn]:
        """Return the directories of the unit that what runs would be shut out of."""
        return [t for t in self.owners.turns() if t.shuts_out and self._mounts(unit, t)]

    def _mounts(self, unit: Unit, turn: Turn) -> bool:
        return self._needs[unit.name].mounts(turn.path)

    def holders(self, unit: Unit) -> list[str]:
        """Return the instances that hold a volume or a port that the unit needs."""
        there = list(self.found.values())
        found = in_the_way(unit, there, self._needs)
        found += [c for c in self._shut_out(unit, self.turning(unit)) if c not in found]
        return [c.name for c in found]

    def _shut_out(self, unit: Unit | None, turning: Sequence[Turn]) -> list[Instance]:
        configs = {unit.name: unit.config for unit in self.units}
        return shut_out(unit, turning, list(self.found.values()), configs)

    def hand_over(self, unit: Unit | None = None) -> None:
        """Have directories of the unit change hands; without one all in which nobody is left."""
        self.look()
        for turn in self.owners.turns():
            if not self._mounts(unit, turn) if unit else self._shut_out(None, [turn]):
                continue
            done = self.owners.change(turn)
            fact = {"path": turn.path, "before": str(turn.old), "after": str(turn.new)}
            self.did.owners.append({**fact, "files": done.files, "left": done.left})
            self.note("changed hands", **self.did.owners[-1])
            if done.odd:
                self.note("odd", unit=unit.name if unit else "", found=done.odd)

    def make_way(self, unit: Unit) -> None:
        """Stop what holds a volume or a port that the unit needs, and have its directories."""
        self.look()
        names = self.holders(unit)
        if names:
            self.note("making way", unit=unit.name, stopped=names)
            self.lead_away(names)
            self.drain(names)
            self.stop(names)
        ports = {port for _, port in self._needs[unit.name].ports}
        if ports & self.traffic.closing_listeners(self.release):
            # What publishes it by itself from now on was behind the edge.
            self.traffic.route(self.release)
        self.hand_over(unit)

    def drain(self, names: Sequence[str], but: Collection[str] = ()) -> dict[str, int]:
        """Wait until visitors have left the instances; return who was still there at the end.

        Peers of ``but`` still serve.
        """
        peers = [peer for name in names for peer in self.found[name].peers if peer not in but]
        return self.traffic.drain(peers, self.limits.drain)

    def succeed(self, names: Sequence[str]) -> None:
        """Let the candidates take the places of the old instances."""
        if not names:
            return
        old = [name for name in names if name in self.look()]
        self.lead_away(old)
        self.stop(old)
        self.runtime.remove(old)
        for name in names:
            self.runtime.rename(name + NEXT, name)
        self.look()

    # -- visitors -------------------------------------------------------------------------

    def pools(self, units: Sequence[Unit], live: dict[str, Instance]) -> dict[str, list[str]]:
        """Return the pools that some of ``units`` serve, with the peers among ``live``."""
        edge = self.release.manifest.edge or Edge()
        concerned = {
            name
            for name, pool in edge.pools.items()
            if any(unit.serves(pool.service) for unit in units)
        }
        pools = pools_of(self.release, self.units, live)
        return {name: peers for name, peers in pools.items() if name in concerned}

    @property
    def hold_seconds(self) -> float:
        """How long visitors wait in the edge for what nobody serves at the moment."""
        return hold_seconds(self.release)

    def without(self, units: Sequence[Unit]) -> dict[str, list[str]]:
        """Return the pools that these units serve, as they are when nobody is sent to them."""
        gone = {unit.name for unit in units}
        live = {name: c for name, c in self._serving().items() if name not in gone}
        known = self.traffic.pools()
        return {name: peers for name, peers in self.pools(units, live).items() if name in known}

    def keep_waiting(self, units: Sequence[Unit]) -> None:
        """Send nobody to these units from now on; who comes waits in the edge for a while."""
        self.lead_away([unit.name for unit in units])

    def moved(self, units: Sequence[Unit]) -> dict[str, list[str]]:
        """Return the pools whose processes move to the new instances last, with their new peers.

        There is never a second one of them: they serve when they were handed over.
        """
        live = {unit.name: c for unit in units if (c := self.found.get(unit.next_name))}
        return self._moving(units, self.pools(units, live))

    def _moving(
        self, units: Sequence[Unit], pools: Mapping[str, list[str]]
    ) -> dict[str, list[str]]:
        known = (self.release.manifest.edge or Edge()).pools
        return {
            name: peers
            for name, peers in pools.items()
            if any(unit.moves(known[name].service) for unit in units)
        }

    def lead_away(self, names: Collection[str]) -> None:
        """Send nobody any more to instances that are about to go, whatever has led there."""
        leaving = {peer for name in names if name in self.found for peer in self.found[name].peers}
        if not leaving:
            return
        hit = {n: peers for n, peers in self.traffic.pools().items() if leaving & set(peers)}
        if not hit:
            return
        staying = {
            name: c for name, c in self.found.items() if name not in names and c.state == "running"
        }
        live = {u.name: c for u in self.units if (c := staying.get(u.name))}
        serving = pools_of(self.release, self.units, live)
        pools = {
            name: [p for p in (*peers, *serving.get(name, ())) if p not in leaving]
            for name, peers in hit.items()
        }
        pools = {name: list(dict.fromkeys(peers)) for name, peers in pools.items()}
        self.traffic.switch(pools, self.hold_seconds)

    def _serving(self) -> dict[str, Instance]:
        """Return the instances that are no candidates and can have visitors, by name."""
        return {name: c for name, c in self.found.items() if c.alive and not name.endswith(NEXT)}

    def send_back(self, units: Sequence[Unit]) -> None:
        """Send visitors of ``units`` to the instances that are no candidates."""
        self.traffic.switch(self._back(units))

    def _back(self, units: Sequence[Unit]) -> dict[str, list[str]]:
        known, back = self.traffic.pools(), self.pools(units, self._serving())
        return {name: peers for name, peers in back.items() if peers and name in known}

    # -- health ---------------------------------------------------------------------------

    def looker(self, names: Collection[str]) -> Callable[[], list[Check]]:
        """Return a function that looks at the instances of these names."""
        pairs = [(n, u) for u in self.units for n in (u.name, u.next_name) if n in names]

        def look() -> list[Check]:
            self.look()
            return [check for name, unit in pairs for check in self.check(unit, name)]

        return look

    def check(self, unit: Unit, name: str) -> Sequence[Check]:
        """Say how one instance is, by what was seen last."""
        instance = self.found.get(name)
        if instance is None:
            return [Check(unit.service, False, f"{name} does not exist", True)]
        if health.answers(unit, instance):
            return [Check(unit.service, True, f"{instance.state}, answers")]
        return self.driver.checks(unit, instance)

    def everything(self) -> list[Check]:
        """Look at all that is meant to run."""
        self.look()
        aside = {*self.did.held, *self.forgiven}
        wanted = [unit for unit in self.units if not {unit.service, unit.name} & aside]
        found = [check for unit in wanted for check in self.check(unit, unit.name)]
        return [*found, *self.driver.beside(self.release)]
