"""A unit: one container of a release, and how it is replaced; read from the release's manifest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moorage.release.names import NEXT

if TYPE_CHECKING:
    from moorage.deploy.release import Release

# Processes and threads of a container whose description sets no limit: far more than a database or
# a pool of workers has, and an eighth of the ids that a host gives out at least.
DEFAULT_PIDS = 4096


@dataclass(frozen=True)
class Policy:
    """How the replicas of a service are replaced: Compose's ``update_config``.

    ``delay`` and ``monitor`` are in seconds; ``parallelism`` 0 means all at once.
    """

    parallelism: int = 1
    delay: float = 0.0
    order: str = "start-first"
    monitor: float | None = None
    failure_action: str = "rollback"
    max_failure_ratio: float = 0.0


@dataclass(frozen=True)
class Unit:
    """One container of a release.

    ``keys`` maps a slot to its key in the release's Compose file; a unit that is not rolled has
    the slot ``""`` alone. ``peers`` maps a slot to the loopback port of each target port.
    ``config`` is what the container's label says when it is as described.
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
    health_url: Mapping[str, Any] | None = None
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


def units_of(release: Release) -> list[Unit]:
    """Return the units of a release, in the order in which they start."""
    return [_unit(entry) for entry in release.manifest.get("units", ())]


def _unit(entry: Mapping[str, Any]) -> Unit:
    known = {**entry, "update": _policy(entry), "rollback": _policy(entry, "rollback")}
    for name in ("singletons", "processes", "secrets"):
        known[name] = tuple(entry.get(name, ()))
    fields = Unit.__dataclass_fields__
    return Unit(**{key: value for key, value in known.items() if key in fields})


def _policy(entry: Mapping[str, Any], kind: str = "update") -> Policy:
    fields = Policy.__dataclass_fields__
    given = entry.get(kind) or {}
    return Policy(**{key: value for key, value in given.items() if key in fields})


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
