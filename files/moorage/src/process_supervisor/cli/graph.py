"""The dependencies as a text tree, for Graphviz, and as JSON."""

from __future__ import annotations

import json

from process_supervisor.common.graph import Node, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

FILLS = {"RUNNING": "palegreen", "EXITED": "lightblue", "FATAL": "salmon", "STOPPED": "lightgrey"}


def text(items: list[dict[str, Any]]) -> str:
    """Return a tree: below each process what it depends on."""
    states = {item["name"]: item["state"] for item in items}
    health = {i["name"]: i["health"] for i in items if i["health"] != "none"}

    def lines(nodes: list[Node], indent: str) -> Iterator[str]:
        for number, node in enumerate(nodes):
            last = number == len(nodes) - 1
            branch, further = ("└─ ", "   ") if last else ("├─ ", "│  ")
            if not node.condition:
                branch = further = ""
            words = [node.name, states.get(node.name, "?"), health.get(node.name, "")]
            words += [f"({node.condition})" if node.condition else "", "…" if node.again else ""]
            yield indent + branch + " ".join(filter(None, words))
            yield from lines(node.needs, indent + further)

    return "\n".join(lines(tree(needs_of(items)), ""))


def dot(items: list[dict[str, Any]]) -> str:
    """Return it in Graphviz' language; an arrow leads to what must be there before."""
    found = ["digraph processes {", "  rankdir=LR; node [shape=box, style=filled];"]
    for item in items:
        fill = FILLS.get(item["state"], "khaki")
        label = f"{item['name']}\\n{item['state']}"
        found.append(f'  "{item["name"]}" [label="{label}", fillcolor={fill}];')
    for name, needs in needs_of(items).items():
        found += [f'  "{name}" -> "{other}" [label="{how}"];' for other, how in needs.items()]
    return "\n".join([*found, "}"])


def as_json(items: list[dict[str, Any]]) -> str:
    """Return each process with its state and what it depends on."""
    keys = ("name", "state", "health", "depends_on")
    return json.dumps([{key: item[key] for key in keys} for item in items], indent=2)


def needs_of(items: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return whom each process depends on, and how."""
    return {item["name"]: item["depends_on"] for item in items}
