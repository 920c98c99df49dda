"""Who needs whom, as a tree: below each process what it depends on."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Nobody describes a longer chain, and nobody's page or stack shall break of one.
DEEPEST = 50


class Node(NamedTuple):
    """A process in its place; `condition` is what is waited for, empty at the top.

    `again`: what it depends on stands where it is named for the first time.
    """

    name: str
    condition: str
    again: bool
    needs: list[Node]


def tree(depends: Mapping[str, Mapping[str, str]]) -> list[Node]:
    """Return those that nobody depends on, with what they need below them."""
    needed = {other for needs in depends.values() for other in needs}
    shown: set[str] = set()

    def node(name: str, condition: str, depth: int) -> Node:
        needs = depends.get(name, {})
        again = bool(needs) and (name in shown or depth == DEEPEST)
        shown.add(name)
        below = [] if again else [node(o, c, depth + 1) for o, c in needs.items()]
        return Node(name, condition, again, below)

    top = [node(name, "", 0) for name in depends if name not in needed]
    # Only a circle, which no configuration has, leaves any.
    return top + [node(name, "", 0) for name in depends if name not in shown]
