"""A stack between two forms: containers that the engine runs, beside processes of the host."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from moorage.deploy.instance import Instance
from moorage.deploy.release import Release, read_part
from moorage.deploy.runtimes.base import AS_IT_IS, Runtime, Surroundings
from moorage.deploy.runtimes.docker import Docker
from moorage.deploy.runtimes.native import Native
from moorage.release.manifest import Unit
from moorage.release.names import COMPOSE_JSON
from moorage.release.native import is_environment

_STOP_SECONDS = 60.0


class Both:
    """Runs a stack's instances by what each of them is; see `Runtime`."""

    def __init__(self, native: Native, docker: Docker) -> None:
        self._native, self._docker = native, docker

    def _of(self, name: str) -> Runtime:
        return self._native if self._native.has(name) else self._docker

    def _for(self, release: Release) -> Runtime:
        return self._native if release.manifest.manager else self._docker

    def _each(self, names: Sequence[str], do: Callable[[Runtime, list[str]], Any]) -> None:
        for runtime in (self._native, self._docker):
            own = [name for name in names if self._of(name) is runtime]
            if own:
                do(runtime, own)

    def instances(self, stack: str) -> list[Instance]:
        """Return what was made for services of the stack, by either."""
        found = [*self._native.instances(stack), *self._docker.instances(stack)]
        return sorted(found, key=lambda instance: instance.name)

    def logs(self, name: str, lines: int, times: bool = False) -> list[str]:
        """Return the last lines that an instance has written."""
        return self._of(name).logs(name, lines, times)

    def out_of_memory(self, name: str) -> bool:
        """Tell whether the kernel has killed a process of it for want of memory."""
        return self._of(name).out_of_memory(name)

    def make(
        self, release: Release, keys: Sequence[str], *, start: bool, timeout_seconds: float
    ) -> None:
        """Make these entries anew; what the other runtime has of their names goes before."""
        composed = read_part(release, COMPOSE_JSON, dict[str, Any])["services"]
        names, target = [composed[key]["container_name"] for key in keys], self._for(release)
        there = {i.name: i for i in self.instances(release.manifest.stack)}
        due = [name for name in names if name in there and self._of(name) is not target]
        longest = max((there[name].stop_seconds for name in due), default=0.0)
        self.stop(due, timeout_seconds=longest + _STOP_SECONDS)
        self.remove(due)
        target.make(release, keys, start=start, timeout_seconds=timeout_seconds)

    def start(self, names: Sequence[str]) -> None:
        """Start instances that there are."""
        self._each(names, lambda runtime, own: runtime.start(own))

    def restart(self, name: str, *, timeout_seconds: float) -> None:
        """Stop an instance with its grace, and start it."""
        self._of(name).restart(name, timeout_seconds=timeout_seconds)

    def stop(self, names: Sequence[str], *, timeout_seconds: float) -> None:
        """Stop instances, each with the grace that it was made with."""
        self._each(names, lambda runtime, own: runtime.stop(own, timeout_seconds=timeout_seconds))

    def hold(self, names: Sequence[str]) -> None:
        """Have those that somebody has stopped stay so over a boot, until they are started."""
        self._each(names, lambda runtime, own: runtime.hold(own))

    def remove(self, names: Sequence[str]) -> None:
        """Remove instances, running or not."""
        self._each(names, lambda runtime, own: runtime.remove(own))

    def rename(self, name: str, to: str) -> None:
        """Give an instance another name."""
        self._of(name).rename(name, to)

    def rename_if_it_runs(self, name: str, to: str) -> None:
        """Give it another name, or remove it where it ends again and again."""
        self._of(name).rename_if_it_runs(name, to)

    def limit(self, name: str, pids: int) -> None:
        """Limit the number of its processes as it runs."""
        self._of(name).limit(name, pids)

    def sweep(self, stack: str) -> None:
        """Remove what was made for a stack beside its instances, its data apart."""
        self._docker.sweep(stack)

    def retire_networks(self, release: Release) -> list[str]:
        """Remove networks of the stack that the release does not describe, but for used ones."""
        return self._docker.retire_networks(release)

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
        how = {"interactive": interactive, "terminal": terminal}
        return self._of(name).within(name, command, beside, **how)

    def apart(
        self,
        release: Release,
        unit: Unit,
        command: Sequence[str],
        beside: Surroundings = AS_IT_IS,
        *,
        terminal: bool = False,
    ) -> list[str]:
        """Return the command line that runs ``command`` in a throw-away instance."""
        return self._for(release).apart(release, unit, command, beside, terminal=terminal)

    def output(self, argv: Sequence[str], *, timeout_seconds: float) -> str:
        """Run a command line that `within` or `apart` gave, and return what it prints."""
        runtime = self._docker if argv[0] == "docker" else self._native
        return runtime.output(argv, timeout_seconds=timeout_seconds)

    def by_hand(self, verb: str, name: str) -> list[str]:
        """Return the command line by which a person does so."""
        return self._of(name).by_hand(verb, name)

    def follow(self, name: str, lines: int, times: bool) -> list[str]:
        """Return the command line that prints its output as it is written."""
        return self._of(name).follow(name, lines, times)

    def refuse(self, release: Release) -> None:
        """Raise for a description that whoever runs it does not take."""
        self._for(release).refuse(release)

    def missing(self, refs: Sequence[str]) -> list[str]:
        """Return those of ``refs`` that this host does not hold."""
        return [*self._native.missing(_native(refs)), *self._docker.missing(_others(refs))]

    def digests(self, refs: Sequence[str]) -> dict[str, str]:
        """Return the content digests of what this host holds, by reference."""
        return {**self._native.digests(_native(refs)), **self._docker.digests(_others(refs))}

    def prune(self, stack: str, keep: Collection[str]) -> list[str]:
        """Remove what was built for the stack, but for ``keep`` and what is in use."""
        return [*self._native.prune(stack, keep), *self._docker.prune(stack, keep)]


def _native(refs: Sequence[str]) -> list[str]:
    return [ref for ref in refs if is_environment(ref)]


def _others(refs: Sequence[str]) -> list[str]:
    return [ref for ref in refs if not is_environment(ref)]
