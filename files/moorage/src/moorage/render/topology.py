"""What is known of a topology outside its own package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from moorage.render.context import Context
from moorage.render.key_table import Column
from moorage.render.rendering import Rendering


@dataclass(frozen=True)
class Topology:
    """A way to run a stack on its hosts.

    `render` makes files and facts of what a context holds, and reports there what cannot be
    honoured; it is pure. `columns` of the table of Compose keys go by what they are called in
    docs/compose.md. `units` are what a stack has besides its services: `limits` may name them.
    `on_demand` tells whether services are brought that no enabled profile asks for. `kept` matches
    variables of a Compose file that only `render` has values for, and several of them. `engine`
    tells whether its instances are containers.
    """

    name: str
    render: Callable[[Context], Rendering]
    columns: Mapping[str, Column]
    units: tuple[str, ...] = ()
    on_demand: bool = True
    kept: str = ""
    engine: bool = True
