"""What a release says of itself: release.json, as the controller writes it and hosts read it.

Old releases stay readable: a host shows them, takes away what they brought, and goes back to those
that say all that an activation needs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from moorage.common.shape import make
from moorage.release.names import NEXT

# A change of this number makes every release a new one: raise it when the meaning of a release's
# files changes without their content.
FORMAT = 4
# The first one with units, whose releases can be activated.
_FIRST_COMPLETE = 3
# Processes and threads of a container whose description sets no limit: far more than a database or
# a pool of workers has, and an eighth of the ids that a host gives out at least.
DEFAULT_PIDS = 4096


@dataclass(frozen=True)
class Policy:
    """How the replicas of a service are replaced: Compose's ``update_config``.

    ``delay`` and ``monitor`` are in seconds; ``parallelism`` 0 means all at once. Unlike in
    Compose, the new one runs before the old one stops unless told otherwise.
    """

    parallelism: int = 1
    delay: float = 0.0
    order: str = "start-first"
    monitor: float | None = None
    failure_action: str = "rollback"
    max_failure_ratio: float = 0.0


@dataclass(frozen=True)
class HealthUrl:
    """By which a container's service says that it is well."""

    port: int
    path: str


@dataclass(frozen=True)
class Unit:
    """One container of a release, and how it is replaced.

    ``keys`` and ``peers`` go by slot: "a" and "b" of a unit that is ``rolled`` (the new container
    starts beside the old one), "" of one that is replaced in place. ``keys``: of its services in
    the release's compose.yaml; ``peers``: container port to loopback port; ``config``: what the
    container's label says when it is as described. ``needs``: services and the condition to wait
    for. ``singletons`` and ``processes`` are those of the unified container; ``slot_install``:
    files of the release that go to a path of the slot. Times are in seconds.
    """

    name: str
    service: str
    config: str
    rolled: bool
    keys: Mapping[str, str]
    replica: int = 1
    image: str = ""
    peers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    health: bool = False
    health_url: HealthUrl | None = None
    singleton: bool = False
    one_off: bool = False
    on_demand: bool = False
    data: bool = False
    singletons: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    stop_seconds: float = 10.0
    update: Policy = Policy()
    rollback: Policy = Policy()
    slot_install: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def next_name(self) -> str:
        """What the new container is called while the old one is still there."""
        return self.name + NEXT

    def serves(self, service: str) -> bool:
        """Tell whether the container is a service's, or has a process of it."""
        return self.service == service or any(is_of(p, service) for p in self.processes)

    def moves(self, service: str) -> bool:
        """Tell whether the container has a process of the service that must not run twice."""
        return any(is_of(process, service) for process in self.singletons)

    def addresses(self, slot: str) -> dict[str, str]:
        """Return where the edge reaches each target port in ``slot``."""
        return {target: f"127.0.0.1:{port}" for target, port in self.peers.get(slot, {}).items()}


def is_of(process: str, service: str) -> bool:
    """Tell whether a process is the service's, or one of its replicas."""
    return process == service or (
        process.startswith(f"{service}-") and process[len(service) + 1 :].isdigit()
    )


def batches(
    units: Iterable[Unit], rolling_back: bool = False, together: Collection[str] = ()
) -> list[list[Unit]]:
    """Return which units are replaced together, one list after the other.

    Services move side by side; of each one no more than its parallelism at a time, but for the
    names in ``together``, which go first.
    """
    waves: list[list[Unit]] = []
    counts: dict[str, int] = {}
    for unit in units:
        policy = unit.rollback if rolling_back else unit.update
        number = counts.get(unit.service, 0)
        counts[unit.service] = number + 1
        wave = number // policy.parallelism if policy.parallelism else 0
        wave = 0 if unit.name in together else wave
        while len(waves) <= wave:
            waves.append([])
        waves[wave].append(unit)
    return waves


@dataclass(frozen=True)
class Backup:
    """How the data of a service is saved: by a dump, as the files that it has, or not at all.

    ``dump`` writes all of it to its standard output, ``restore`` reads that and puts it in the
    place of what is there, as soon as the service was started anew; ``census`` reads it and tells
    what is in it, ``restore_tables`` puts the rows of the tables back that are its last words.
    ``volumes`` are those that nobody else mounts. Of one that is ``unknown`` nobody has said how.
    """

    how: Literal["dump", "files", "none", "unknown"]
    dump: tuple[str, ...] = ()
    restore: tuple[str, ...] = ()
    census: tuple[str, ...] = ()
    restore_tables: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Service:
    """A service as it runs: a process of the unified container, or a container.

    ``containers`` names every container that it runs in. ``one_off``: others wait until it has
    ended well. ``on_demand``: it is created, and started by hand only. ``backup`` is None where
    nothing is to be said of it: its volumes are copied as they are.
    """

    name: str
    kind: Literal["process", "container"] = "container"
    singleton: bool = False
    ports: tuple[int, ...] = ()
    health: bool = False
    one_off: bool = False
    on_demand: bool = False
    replicas: int = 1
    containers: tuple[str, ...] = ()
    backup: Backup | None = None


@dataclass(frozen=True)
class Directory:
    """A directory that an application works in; ``mode`` in octal digits."""

    path: str
    owner: int
    group: int
    mode: str


@dataclass(frozen=True)
class Seed:
    """An image from which a volume that is new takes owner and content, as an engine's own does.

    ``target`` is where it is mounted, ``user`` as whom ("" is the image's own user); ``mode`` in
    octal digits, "" for the image's.
    """

    path: str
    image: str
    target: str
    user: str = ""
    mode: str = ""


@dataclass(frozen=True)
class Place:
    """A path of the host that services mount; ``make``: where it is not there, it is made."""

    path: str
    make: bool
    read_only: bool


@dataclass(frozen=True)
class Pool:
    """Who stands behind a listener or a route.

    ``health`` is the path at which a peer says whether it is well; empty where none does.
    """

    service: str
    port: int
    health: str = ""


@dataclass(frozen=True)
class Listener:
    """A public port that belongs to one pool as a whole."""

    port: int
    address: str
    pool: str


@dataclass(frozen=True)
class Route:
    """A path of the stack's domains that one pool answers."""

    path: str
    pool: str


@dataclass(frozen=True)
class Edge:
    """What the stack wants of the edge; `moorage.edge.model` reads it there."""

    pools: Mapping[str, Pool] = field(default_factory=dict)
    listeners: tuple[Listener, ...] = ()
    domains: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """What the prober asks for; ``expect``: the first and the last status code that is well."""

    service: str
    port: int
    path: str
    expect: tuple[int, int] = (200, 399)


@dataclass(frozen=True)
class Probe:
    """How the prober asks, and what a release may cost visitors; a ``rate`` of 0 asks nothing."""

    rate: float = 0.0
    timeout_seconds: float = 1.0
    method: str = "GET"
    budget: float = 0
    p99_factor: float = 1.0
    p99_floor_seconds: float = 1.0
    before_seconds: float = 0.0
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True)
class Rollout:
    """How long what may take, in seconds; an hour for hooks of a release that says nothing."""

    drain_seconds: float = 0.0
    monitor_seconds: float = 0.0
    hook_timeout_seconds: float = 3600.0


@dataclass(frozen=True)
class Hook:
    """A command before or after an update; what it prints is saved under ``save_as``."""

    name: str
    service: str
    command: tuple[str, ...]
    save_as: str | None = None
    timeout_seconds: float | None = None


@dataclass(frozen=True)
class Hooks:
    """What is done before and after an update."""

    before: tuple[Hook, ...] = ()
    after: tuple[Hook, ...] = ()


@dataclass(frozen=True)
class Migrations:
    """Who tells which migrations there would be."""

    service: str
    plan: tuple[str, ...]


@dataclass(frozen=True)
class Partial:
    """The one service that was taken from a planned release into another one."""

    service: str
    of: str
    planned: str


@dataclass(frozen=True)
class Pulled:
    """Where an image came from: what the Compose file calls it, and what that was then.

    ``digest`` is the registry's, "" where it came from none; ``id`` is the engine's.
    """

    ref: str
    digest: str = ""
    id: str = ""


@dataclass(frozen=True)
class Manifest:
    """What a release says; the oldest ones say no more than their topology.

    ``install`` maps a file of the release to where the host needs it. ``manager`` runs its
    processes, where they are in no containers. ``runtime`` are directories below /run.
    ``directories`` change hands with the release, but for those of ``seeds``; None where nothing is
    said of them. ``pulled`` has the images that came from registries, by their names here; of a
    release with any, ``planned`` is what the plan calls it.
    """

    topology: str
    format: int = 0
    stack: str = ""
    id: str = ""
    version: str = ""
    manager: str = ""
    images: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()
    install: Mapping[str, str] = field(default_factory=dict)
    runtime: tuple[Directory, ...] = ()
    directories: tuple[Directory, ...] | None = None
    seeds: tuple[Seed, ...] = ()
    places: tuple[Place, ...] = ()
    units: tuple[Unit, ...] = ()
    edge: Edge | None = None
    probe: Probe = Probe()
    rollout: Rollout = Rollout()
    hooks: Hooks = Hooks()
    migrations: Migrations | None = None
    partial: Partial | None = None
    pulled: Mapping[str, Pulled] = field(default_factory=dict)
    planned: str = ""

    @property
    def kind(self) -> str:
        """What its instances are: a process each, or a container."""
        return "process" if self.manager else "container"

    @property
    def complete(self) -> bool:
        """Whether it says all that an activation needs."""
        return self.format >= _FIRST_COMPLETE


def parse(data: Mapping[str, Any]) -> Manifest:
    """Return what a release says; raises ValueError, saying where, for what is wrong in it.

    A key that this format does not have is an error; in older ones it is passed over.
    """
    written = data.get("format", 0)
    if isinstance(written, int) and written > FORMAT:
        raise ValueError(
            f"format: {written} is of a newer version of Moorage, and {FORMAT} the newest known "
            f"here: bring this host up to date"
        )
    return make(Manifest, data, strict=True) if written == FORMAT else _of_older(data)


def _of_older(data: Mapping[str, Any]) -> Manifest:
    """Read a release of before `FORMAT`, with what it does not say as it was meant then.

    A service without ``containers`` runs in ``container`` alone.
    """
    found = make(Manifest, data)
    alone = {entry["name"]: entry.get("container") for entry in data.get("services") or ()}
    services = (
        s if s.containers or not alone[s.name] else replace(s, containers=(str(alone[s.name]),))
        for s in found.services
    )
    return replace(found, services=tuple(services))


def data_of(value: Any) -> Any:
    """Return a manifest, or a part of one, as JSON has it."""
    return json.loads(json.dumps(asdict(value)))


def text_of(manifest: Manifest) -> str:
    """Return the content of release.json: the same for the same manifest."""
    return json.dumps(asdict(manifest), indent=2) + "\n"
