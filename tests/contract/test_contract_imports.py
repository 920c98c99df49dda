"""Who imports whom: no circles between modules, and no arrow that runs back up."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "files/moorage/src"
# From the ground up: whoever stands in a line imports from lines above it, and from its own part.
# Parts in one line know nothing of each other.
LAYERS = (
    "process_supervisor.common process_supervisor.config",
    "process_supervisor.guardian process_supervisor.output",
    "process_supervisor.service",
    "process_supervisor.plugins",
    "process_supervisor.alerts",
    "process_supervisor.supervisor",
    "process_supervisor.control",
    "process_supervisor.cli process_supervisor.client process_supervisor.daemon",
    "process_supervisor.boot process_supervisor.embedded process_supervisor.init",
    "process_supervisor process_supervisor.__main__",
    "moorage moorage.common moorage.packets",
    "moorage.release moorage.settings",
    "moorage.control moorage.images moorage.launch moorage.probe",
    "moorage.edge moorage.gateway moorage.panel",
    "moorage.application moorage.compose",
    "moorage.render",
    "moorage.deploy",
    "moorage.backup moorage.controller moorage.watch",
    "moorage.cli",
    "moorage.adopt",
)
FLOOR = {part: number for number, line in enumerate(LAYERS) for part in line.split()}


@cache
def modules() -> dict[str, ast.Module]:
    """Return the modules that hosts, images and the controller run, by name."""
    paths = [*SOURCES.glob("moorage/**/*.py"), *SOURCES.glob("process_supervisor/**/*.py")]
    names = (".".join(path.relative_to(SOURCES).with_suffix("").parts) for path in paths)
    return {
        name.removesuffix(".__init__"): ast.parse(path.read_text(encoding="utf-8"))
        for name, path in zip(names, paths, strict=True)
    }


def imported(tree: ast.AST) -> set[str]:
    """Return which of our modules a tree imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & modules().keys()
            found |= inner or {node.module}
    return found & modules().keys()


def part(module: str) -> str:
    """Return the package, or the module beside the packages, that a module is of."""
    return ".".join(module.split(".")[:2])


def test_no_modules_import_each_other_in_a_circle() -> None:
    # What only a checker of types sees counts as well.
    graph = {name: imported(tree) - {name} for name, tree in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" <- ".join(circle.args[1]))


def test_no_arrow_runs_back_up() -> None:
    assert {part(name) for name in modules()} == FLOOR.keys()
    odd = [
        f"{name} imports {other}"
        for name, tree in modules().items()
        for other in imported(tree)
        if (mine := part(name)) != (theirs := part(other)) and FLOOR[theirs] >= FLOOR[mine]
    ]
    assert odd == []
