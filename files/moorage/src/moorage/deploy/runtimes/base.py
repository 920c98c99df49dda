"""An instance, and what a rollout asks of whatever runs instances.

An instance is one service, or several under a supervisor, as it runs on this host in one place: a
container today. Nothing outside this package knows by what it is run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from moorage.common.engine import RuntimeFault as RuntimeFault
from moorage.deploy.release import Release
from moorage.release.manifest import Unit

LOOPBACK, ANYWHERE = "127.0.0.1", "0.0.0.0"
_ENDING = ("", "no", "on-failure")


@dataclass(frozen=True, order=True)
class Published:
    """A port of an instance, and where the host has it."""

    target: str
    address: str
    port: int


@dataclass(frozen=True)
class Instance:
    """What there is to say of one instance.

    ``state`` is a word of Docker's: created, running, restarting, paused, exited or dead.
    ``config`` tells whether it is as a release describes it; ``kind`` is what people call it.
    ``supervised``: several processes run in it, under a supervisor that is asked about them.
    ``refused``: why it could not be started. ``stop_seconds``: how long it may take to end; for
    ever is a month. ``writes`` and ``reads`` are what it mounts.
    """

    id: str
    name: str
    service: str
    image: str
    state: str
    health: str
    exit_code: int
    pid: int
    started_at: str
    restarts: int
    policy: str
    config: str = ""
    slot: str = ""
    replica: int = 1
    published: tuple[Published, ...] = ()
    out_of_memory: bool = False
    finished_at: str = ""
    health_log: tuple[str, ...] = ()
    pids_limit: int = 0
    refused: str = ""
    writes: tuple[str, ...] = ()
    stop_seconds: float = 10.0
    reads: tuple[str, ...] = ()
    kind: str = "container"
    supervised: bool = False

    @property
    def alive(self) -> bool:
        """Whether it runs, or is about to by itself."""
        return self.state in ("running", "restarting", "paused")

    @property
    def held(self) -> bool:
        """Stopped by somebody: what else ends under such a policy is started again.

        But not what could not be started: after a boot that is tried once.
        """
        ended = self.state == "exited" and not self.refused
        return ended and self.policy in ("always", "unless-stopped")

    @property
    def done(self) -> bool:
        """Ended well, under a policy that leaves it at that."""
        return self.state == "exited" and self.exit_code == 0 and self.policy in _ENDING

    @property
    def peers(self) -> tuple[str, ...]:
        """Where the edge reaches it: its ports on the loopback address."""
        return tuple(f"{p.address}:{p.port}" for p in self.published if p.address == LOOPBACK)

    def peer(self, target: int | str) -> str | None:
        """Return where the edge reaches one of its ports, None when it does not."""
        found = (p for p in self.published if p.address == LOOPBACK and p.target == str(target))
        return next((f"{p.address}:{p.port}" for p in found), None)

    @property
    def settled(self) -> bool:
        """Running and, where it has a health check, healthy."""
        return self.state == "running" and self.health in ("none", "healthy")


@dataclass(frozen=True)
class Surroundings:
    """In what a command runs beside a process: "" and nothing are the instance's own."""

    directory: str = ""
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


AS_IT_IS = Surroundings()


class Runtime(Protocol):
    """What runs the instances of this host.

    Every method raises RuntimeFault where it cannot be asked or refuses. Times are in seconds.
    """

    # -- looking --------------------------------------------------------------------------

    def instances(self, stack: str) -> list[Instance]:
        """Return what was made for services of the stack, running or not, by name."""

    def logs(self, name: str, lines: int, times: bool = False) -> list[str]:
        """Return the last lines that an instance has written; never raises."""

    def out_of_memory(self, name: str) -> bool:
        """Tell whether the kernel has killed a process of it for want of memory."""

    # -- making and removing --------------------------------------------------------------

    def make(
        self, release: Release, keys: Sequence[str], *, start: bool, timeout_seconds: float
    ) -> None:
        """Make these entries of the release's description anew; returns without waiting."""

    def start(self, names: Sequence[str]) -> None:
        """Start instances that there are."""

    def restart(self, name: str, *, timeout_seconds: float) -> None:
        """Stop an instance with its grace, and start it."""

    def stop(self, names: Sequence[str], *, timeout_seconds: float) -> None:
        """Stop instances side by side, each with the grace that it was made with."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove instances, running or not."""

    def rename(self, name: str, to: str) -> None:
        """Give an instance another name."""

    def rename_if_it_runs(self, name: str, to: str) -> None:
        """Give it another name, or remove it where it ends again and again."""

    def limit(self, name: str, pids: int) -> None:
        """Limit the number of its processes as it runs."""

    def sweep(self, stack: str) -> None:
        """Remove what was made for a stack beside its instances, its data apart."""

    # -- commands -------------------------------------------------------------------------

    def within(
        self,
        name: str,
        command: Sequence[str],
        beside: Surroundings = AS_IT_IS,
        *,
        interactive: bool = False,
        terminal: bool = False,
    ) -> list[str]:
        """Return the command line that runs ``command`` in a running instance."""

    def apart(
        self,
        release: Release,
        unit: Unit,
        command: Sequence[str],
        beside: Surroundings = AS_IT_IS,
        *,
        terminal: bool = False,
    ) -> list[str]:
        """Return the command line that runs ``command`` in a throw-away instance like the unit's.

        The release need not be the running one.
        """

    def output(self, argv: Sequence[str], *, timeout_seconds: float) -> str:
        """Run a command line that `within` or `apart` gave, and return what it prints."""

    def by_hand(self, verb: str, name: str) -> list[str]:
        """Return the command line by which a person does so: start, stop or restart."""

    def follow(self, name: str, lines: int, times: bool) -> list[str]:
        """Return the command line that prints its output as it is written."""

    # -- images ---------------------------------------------------------------------------

    def missing(self, refs: Sequence[str]) -> list[str]:
        """Return those of ``refs`` that this host does not hold."""

    def digests(self, refs: Sequence[str]) -> dict[str, str]:
        """Return the content digests of what this host holds, by reference."""

    def prune(self, stack: str, keep: Collection[str]) -> list[str]:
        """Remove what was built for the stack, but for ``keep`` and what is in use.

        Returns what was removed.
        """
