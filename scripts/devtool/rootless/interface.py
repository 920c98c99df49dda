"""A part of supervisord: changes the processes of groups one by one.

Supervisor's `update` stops a whole group when one of its processes changes, also when a program has
another `numprocs` (its issue 177). Between the two calls, whoever makes them stops what is to go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Interface:
    """The methods `moorage.difference` and `moorage.apply` of its XML-RPC."""

    def __init__(self, supervisord: Any) -> None:
        """Serve this supervisord."""
        self._supervisord = supervisord

    def difference(self) -> list[str]:
        """Reread the configuration; return the processes that are another or no more in it."""
        self._supervisord.options.process_config(do_usage=False)
        return [
            f"{group.config.name}:{name}"
            for group, wanted in self._groups()
            for name, process in group.processes.items()
            if wanted.get(name) != process.config
        ]

    def apply(self) -> list[str]:
        """Have the groups as they were reread; return the processes that are new in them."""
        found = []
        for group, wanted in self._groups():
            kept = {n: p for n, p in group.processes.items() if wanted.get(n) == p.config}
            for name, process in group.processes.items():
                if name not in kept and process.pid:
                    raise ValueError(f"{name} runs")
            new = [name for name in wanted if name not in kept]
            group.processes = {
                name: kept.get(name) or config.make_process(group)
                for name, config in wanted.items()
            }
            group.config = next(
                config
                for config in self._supervisord.options.process_group_configs
                if config.name == group.config.name
            )
            found += [f"{group.config.name}:{name}" for name in new]
        return found

    def _groups(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Yield the groups that there are, and the processes that they are to have, by name."""
        active = self._supervisord.process_groups
        for config in self._supervisord.options.process_group_configs:
            if config.name in active:
                yield active[config.name], {entry.name: entry for entry in config.process_configs}


def make(supervisord: Any, **_: str) -> Interface:
    """Return it, as `supervisor.rpcinterface_factory` of [rpcinterface:…] is called."""
    return Interface(supervisord)
