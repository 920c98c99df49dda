"""What a rollout asks of whatever runs instances."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from moorage.common.engine import RuntimeFault as RuntimeFault
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release
from moorage.release.manifest import Unit


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

    def hold(self, names: Sequence[str]) -> None:
        """Have those that somebody has stopped stay so over a boot, until they are started."""

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

    def retire_networks(self, release: Release) -> list[str]:
        """Remove networks of the stack that the release does not describe, but for used ones.

        Returns what was removed.
        """

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

    def refuse(self, release: Release) -> None:
        """Raise RuntimeFault for a description that what makes instances here does not take."""

    # -- images ---------------------------------------------------------------------------

    def missing(self, refs: Sequence[str]) -> list[str]:
        """Return those of ``refs`` that this host does not hold."""

    def digests(self, refs: Sequence[str]) -> dict[str, str]:
        """Return the content digests of what this host holds, by reference."""

    def prune(self, stack: str, keep: Collection[str]) -> list[str]:
        """Remove what was built for the stack, but for ``keep`` and what is in use.

        Returns what was removed.
        """
