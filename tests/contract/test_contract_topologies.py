"""Only what is a topology's own knows a topology by its name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.render import topologies

PACKAGE = Path(__file__).resolve().parents[2] / "files/moorage/src/moorage"
TOPOLOGIES = {topology.name for topology in topologies()}
# A machine is called so everywhere: who asks for that topology cannot be told from who means one.
NAMES = TOPOLOGIES - {"host"}
OWN = ("deploy/drivers/", "deploy/runtimes/", *(f"render/{name}/" for name in TOPOLOGIES))
ELSEWHERE = {
    "deploy/claims.py": "a key of the manifest",
    "release/names.py": "the word itself",
    "settings/stack.py": "the setting's default",
    "compose/extension.py": "x-moorage.unified: a format",
    "compose/extension_schema.py": "x-moorage.unified: a format",
    "compose/load.py": "x-moorage.unified: a format",
    "compose/resolve.py": "x-moorage.unified: a format",
}
CODE = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


def parsed(path: str) -> ast.Module:
    """Return the tree of a module of the package."""
    return ast.parse(CODE[path].read_text(encoding="utf-8"))


def holders() -> set[str]:
    """Return the constants of modules that hold the name of a topology."""
    return {
        target.id
        for path in CODE
        for node in parsed(path).body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and node.value.value in NAMES
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def mentions(tree: ast.AST, constants: set[str]) -> Iterator[str]:
    """Yield where a tree names a topology, by a string or by a constant that holds one."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if text in NAMES:
                yield f"{node.lineno}: {text!r}"
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in constants:
                yield f"{node.lineno}: {name}"
            case ast.alias(name=name) if name in constants:
                yield f"{node.lineno}: import of {name}"


def test_a_topology_is_named_in_its_own_parts_alone() -> None:
    constants = holders()
    found = {
        path: places
        for path in CODE
        if not path.startswith(OWN) and (places := list(mentions(parsed(path), constants)))
    }
    assert {path: found[path] for path in found if path not in ELSEWHERE} == {}
    assert found.keys() == ELSEWHERE.keys(), "a reason that nothing has any more"


def test_only_the_registry_imports_a_topology() -> None:
    odd = [
        f"{path}: {node.module}"
        for path in CODE
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom) and path != "render/__init__.py"
        for name in TOPOLOGIES
        if f"{node.module}.".startswith(f"moorage.render.{name}.")
        and not path.startswith(f"render/{name}/")
    ]
    assert odd == []


@pytest.mark.parametrize(
    "text",
    ['x == "unified"', 'f"{y}" + f"containers"', "names.UNIFIED", "from a import UNIFIED as U"],
)
def test_a_name_is_seen(text: str) -> None:
    assert list(mentions(ast.parse(text), {"UNIFIED"}))
