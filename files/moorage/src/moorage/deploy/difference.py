"""What lies between the instances that a host has and the units that a release describes."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moorage.deploy.instance import ANYWHERE, Instance
from moorage.release.manifest import Unit
from moorage.release.names import NEXT


@dataclass(frozen=True)
class Operation:
    """One thing that a rollout does: ``verb`` says what to do to ``name``."""

    verb: str
    name: str

    def __str__(self) -> str:
        return f"{self.verb}: {self.name}"


@dataclass
class Difference:
    """What has to be done, by the way in which it is done.

    ``roll`` and ``place`` hold units to make anew, beside the old one and in its place;
    ``start`` instances that are as described and do not run although they should; ``create``
    units that are made without being started; ``extra`` instances that nothing describes.
    """

    roll: list[Unit] = field(default_factory=list)
    place: list[Unit] = field(default_factory=list)
    create: list[Unit] = field(default_factory=list)
    start: list[Instance] = field(default_factory=list)
    extra: list[Instance] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.roll or self.place or self.create or self.start or self.extra)

    def operations(self, there: Collection[str]) -> list[Operation]:
        """Return it as operations; ``there`` names the instances that exist."""

        def anew(unit: Unit, replace: str) -> Operation:
            verb = "one-off to run" if unit.one_off else replace
            known = unit.one_off or unit.name in there
            return Operation(verb if known else "instance to make", unit.name)

        return [
            *(anew(unit, "instance to replace") for unit in self.roll),
            *(anew(unit, "instance to replace in its place") for unit in self.place),
            *(Operation("instance to make and not to start", unit.name) for unit in self.create),
            *(Operation("instance to start", instance.name) for instance in self.start),
            *(Operation("instance to remove", instance.name) for instance in self.extra),
        ]


def difference(
    units: Sequence[Unit],
    instances: Sequence[Instance],
    *,
    held: Collection[str] = (),
    anew: Collection[str] = (),
) -> Difference:
    """Compare; ``held`` names services that somebody has stopped, ``anew`` names of instances.

    What is held is kept up to date, and stays stopped.
    """
    by_name = {instance.name: instance for instance in instances}
    found = Difference()
    for unit in units:
        old = by_name.get(unit.name)
        stale = old is None or old.config != unit.config or unit.name in anew
        idle = unit.on_demand or unit.service in held
        if idle and stale and not (unit.on_demand and old and old.state == "running"):
            found.create.append(unit)
        elif stale or (unit.one_off and not _succeeded(old)):
            (found.roll if unit.rolled else found.place).append(unit)
        elif not (idle or unit.one_off or old is None or old.state == "running" or old.done):
            found.start.append(old)
    names = {unit.name for unit in units}
    found.extra = [c for c in instances if c.name not in names]
    return found


def _succeeded(instance: Instance | None) -> bool:
    if instance is None:
        return False
    return instance.state == "running" or (instance.state == "exited" and instance.exit_code == 0)


@dataclass(frozen=True)
class Needs:
    """What of the host a unit has: sources that it writes to, addresses with ports.

    ``reads`` are sources that it mounts and does not write to.
    """

    writes: frozenset[str] = frozenset()
    ports: frozenset[tuple[str, int]] = frozenset()
    reads: frozenset[str] = frozenset()

    def mounts(self, path: str) -> bool:
        """Tell whether the unit sees something of a directory."""
        return sees(path, [*self.writes, *self.reads])


def needs_of(units: Sequence[Unit], described: Mapping[str, Any]) -> dict[str, Needs]:
    """Return what each unit needs, by name; ``described`` has services by key (compose.json).

    Ports of one slot alone are none of them: it can start in the other one (`free_slot`).
    """
    return {
        unit.name: _needs([described.get(key) or {} for key in unit.keys.values()])
        for unit in units
    }


def _needs(entries: Sequence[Mapping[str, Any]]) -> Needs:
    mounts = [m for entry in entries for m in entry.get("volumes") or ()]
    ports = [ports_of(entry) for entry in entries] or [frozenset()]
    return Needs(
        _real(str(m["source"]) for m in mounts if m.get("source") and not m.get("read_only")),
        frozenset.intersection(*ports),
        frozenset(str(m["source"]) for m in mounts if m.get("source") and m.get("read_only")),
    )


def ports_of(entry: Mapping[str, Any]) -> frozenset[tuple[str, int]]:
    """Return where a service of a Compose file listens on the host: addresses with ports."""
    ports = entry.get("ports") or ()
    return frozenset((p.get("host_ip") or ANYWHERE, int(p["published"])) for p in ports)


def free_slot(
    unit: Unit, taken: str, instances: Sequence[Instance], described: Mapping[str, Any]
) -> str:
    """Return the slot that a new instance starts in when its old one is in ``taken``.

    One whose ports somebody else has, as a single one has that becomes two, comes last.
    """
    held = {(p.address, p.port) for c in instances if c.alive for p in c.published}

    def contested(slot: str) -> bool:
        return bool(ports_of(described.get(unit.keys[slot]) or {}) & held)

    slots = [slot for slot in sorted(unit.keys) if slot != taken or not unit.rolled]
    return min(slots, key=contested)


def in_the_way(
    unit: Unit, instances: Sequence[Instance], needs: Mapping[str, Needs]
) -> list[Instance]:
    """Return the running instances that have to stop before the unit starts.

    They hold what it needs, and are not going to: nothing describes them any more, or they have
    moved elsewhere. What two services are meant to share is theirs together; and what may have its
    successor beside it, or prepares the ground for what comes, writes beside others by design.
    """
    own = needs.get(unit.name, Needs())
    alone = not unit.rolled and not unit.one_off
    found = []
    for instance in instances:
        name = instance.name.removesuffix(NEXT)
        if instance.state != "running" or name == unit.name:
            continue
        keeps = needs.get(name, Needs())
        taken = {(p.address, p.port) for p in instance.published} - keeps.ports
        shared = _real(instance.writes) - keeps.writes
        ports = any(meet(mine, theirs) for mine in own.ports for theirs in taken)
        if ports or (alone and any(within(a, b) for a in own.writes for b in shared)):
            found.append(instance)
    return found


def sees(path: str, sources: Iterable[str]) -> bool:
    """Tell whether something of a directory is among mounted sources, by whatever name."""
    real = os.path.realpath(path)
    return any(within(real, source) for source in _real(sources))


def _real(sources: Iterable[str]) -> frozenset[str]:
    """Return paths without links: one directory may be mounted by several names."""
    return frozenset(os.path.realpath(source) for source in sources)


def meet(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Tell whether nobody can listen at both: addresses with a port."""
    anywhere = {ANYWHERE, "::", "[::]"}
    same = one[0] == other[0] or one[0] in anywhere or other[0] in anywhere
    return one[1] == other[1] and same


def shut_out(
    unit: Unit | None,
    turning: Sequence[Turn],
    instances: Sequence[Instance],
    configs: Mapping[str, str],
) -> list[Instance]:
    """Return the running instances that see a directory as the one before, and have to stop.

    What is as described already (``configs`` by name) works there as the release means it to.
    """
    return [
        c
        for c in instances
        if c.alive and (unit is None or c.name.removesuffix(NEXT) != unit.name)
        if c.config != configs.get(c.name.removesuffix(NEXT))
        if any(sees(turn.path, [*c.writes, *c.reads]) for turn in turning)
    ]


def within(one: str, other: str) -> bool:
    """Tell whether one of two paths is the other, or holds it."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


@dataclass(frozen=True)
class Owned:
    """Whose a directory is: user and group by number, and its permissions."""

    uid: int
    gid: int
    mode: int

    @property
    def pair(self) -> tuple[int, int]:
        """User and group."""
        return self.uid, self.gid

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid} {self.mode:04o}"


@dataclass(frozen=True)
class Turn:
    """A directory that is to change hands; files of ``users`` and ``groups`` go along.

    ``shuts_out``: who works in it as the one before has to stop first.
    """

    path: str
    old: Owned
    new: Owned
    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    shuts_out: bool = True


_Pairs = Collection[tuple[int, int]]


def turns(
    wanted: Mapping[str, Owned],
    there: Mapping[str, Owned],
    *,
    known: Mapping[str, _Pairs],
    begun: Mapping[str, _Pairs],
    writers: Mapping[str, _Pairs],
) -> list[Turn]:
    """Return the directories that are another's than ``wanted``; those that are missing are not.

    ``known`` has the owners that retained releases want, ``begun`` those between whom a directory
    was when somebody was cut off, ``writers`` as whom services write there from now on: what is
    theirs stays theirs.
    """
    found = []
    for path, new in wanted.items():
        old, half = there.get(path), set(begun.get(path, ()))
        if old is None or (old == new and not half):
            continue
        ours = old.pair == new.pair or old.pair in {*known.get(path, ()), *half}
        if new.uid == 0 and not ours:
            # The root of a container has given it to whom it liked.
            continue
        # A file of root's that nobody of ours has made is not for an application.
        left = half | ({old.pair} if old.uid or ours else set())
        staying = {new.pair, *writers.get(path, ())}
        found.append(
            Turn(
                path,
                old,
                new,
                frozenset({u for u, _ in left} - {u for u, _ in staying}),
                frozenset({g for _, g in left} - {g for _, g in staying}),
                bool(half or old.pair != new.pair or old.mode & ~new.mode),
            )
        )
    return found


@dataclass
class Leftovers:
    """What an interrupted rollout has left: candidates to remove, and some to finish with.

    ``finish`` names canonical names whose candidate serves already; ``rename`` those whose old
    instance is gone.
    """

    remove: list[Instance] = field(default_factory=list)
    finish: list[str] = field(default_factory=list)
    rename: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.remove or self.finish or self.rename)

    def operations(self) -> list[Operation]:
        """Return what is finished with first."""
        return [
            *(Operation("candidate to remove", instance.name) for instance in self.remove),
            *(
                Operation("candidate to finish with", n + NEXT)
                for n in (*self.finish, *self.rename)
            ),
        ]


def leftovers(
    instances: Sequence[Instance], serving: Collection[str], wanted: Mapping[str, str]
) -> Leftovers:
    """Find them; ``serving`` holds the peers in the edge's pools, ``wanted`` configs by name.

    Of two instances that run the one that is as wanted stays; where that does not tell, the one
    that visitors reach.
    """
    by_name = {instance.name: instance for instance in instances}
    found = Leftovers()
    for candidate in instances:
        if not candidate.name.endswith(NEXT):
            continue
        name = candidate.name.removesuffix(NEXT)
        old = by_name.get(name)
        runs = candidate.state == "running"
        serves = runs and bool(set(candidate.peers) & set(serving))
        if old is None and runs:
            found.rename.append(name)
        elif old is None:
            # The engine refuses to rename what it is about to start again.
            found.remove.append(candidate)
        elif serves and (old.state != "running" or old.config != wanted.get(name)):
            # Nobody is led back to what was stopped already: it is made anew beside this one.
            found.finish.append(name)
        else:
            found.remove.append(candidate)
    return found
