"""Dependencies as a tree, for Graphviz and as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from process_supervisor.cli.main import main
from process_supervisor.common.graph import DEEPEST, Node, tree

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig

CHECK = {"type": "command", "command": ["true"]}


def process(name: str, **more: Any) -> dict[str, Any]:
    """A process that sleeps."""
    return {"name": name, "command": ["sleep", "1000"], **more}


def test_the_command_draws_it(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.start(
        process("db", health_check=CHECK),
        {**process("migrate", autorestart="never"), "command": ["true"],
         "depends_on": {"db": "healthy"}},
        process("web", depends_on={"migrate": "completed", "db": "healthy"}),
        process("worker", depends_on={"migrate": "completed"}),
        process("alone"),
    )  # fmt: skip
    rig.pid("web")
    rig.pid("worker")

    def graph(*words: str) -> str:
        assert main(["-s", rig.client.path, "graph", *words]) == 0
        return capsys.readouterr().out

    assert graph() == (
        "web RUNNING\n"
        "├─ migrate EXITED (completed)\n"
        "│  └─ db RUNNING healthy (healthy)\n"
        "└─ db RUNNING healthy (healthy)\n"
        "worker RUNNING\n"
        "└─ migrate EXITED (completed) …\n"
        "alone RUNNING\n"
    )
    found = graph("--dot").splitlines()
    assert found[0] == "digraph processes {" and found[-1] == "}"
    assert '  "web" -> "migrate" [label="completed"];' in found
    assert '  "db" [label="db\\nRUNNING", fillcolor=palegreen];' in found
    facts = {item["name"]: item for item in json.loads(graph("--json"))}
    assert facts["web"]["depends_on"] == {"migrate": "completed", "db": "healthy"}
    assert facts["alone"] == {
        "name": "alone", "state": "RUNNING", "health": "none", "depends_on": {},
    }  # fmt: skip
    with pytest.raises(SystemExit):
        main(["-s", rig.client.path, "graph", "--dot", "--json"])


def deepest(nodes: list[Node]) -> int:
    """Return how deep a tree is."""
    return max((1 + deepest(node.needs) for node in nodes), default=0)


def test_neither_a_circle_nor_a_long_chain_breaks_it() -> None:
    circle = tree({"a": {"b": "started"}, "b": {"a": "started"}})
    assert [node.name for node in circle] == ["a"] and deepest(circle) == 3
    chain = {f"p{n}": {f"p{n + 1}": "started"} for n in range(3000)}
    assert deepest(tree(chain)) == DEEPEST + 1
    # Each part is drawn once, though every process needs all those after it.
    many = {f"p{n}": {f"p{m}": "started" for m in range(n + 1, 40)} for n in range(40)}
    count, waiting = 0, list(tree(many))
    while waiting:
        count += 1
        waiting += waiting.pop().needs
    assert count == 1 + sum(map(len, many.values()))
