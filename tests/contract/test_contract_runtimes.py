"""Only the runtimes know by what instances are run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

DEPLOY = Path(__file__).resolve().parents[2] / "files/moorage/src/moorage/deploy"
# What names an engine, or belongs to one.
ENGINE = ("moorage.common.engine", "moorage.common.dockerapi")


def words(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield what code says, names and texts, with its line; not what is written about it."""
    about = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in about:
            yield node.value, node.lineno
        elif isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield getattr(node, "module", None) or "", node.lineno
            yield from ((alias.name, node.lineno) for alias in node.names)


def engine(word: str) -> bool:
    """Tell whether a word is of the engine."""
    parts = (word.lower().split() or [""])[0].split(".")
    return "docker" in parts or word in ENGINE


def test_what_runs_instances_is_known_in_one_place() -> None:
    said = {
        path: {(w, n) for w, n in words(ast.parse(path.read_text(encoding="utf-8"))) if engine(w)}
        for path in sorted(DEPLOY.rglob("*.py"))
    }
    there = {path: path.relative_to(DEPLOY) for path, found in said.items() if found}
    odd = [
        f"{inner}:{line}: {word!r}"
        for path, inner in there.items()
        if inner.parts[0] != "runtimes"
        for word, line in sorted(said[path])
    ]
    assert odd == []
    assert {inner.parts[0] for inner in there.values()} == {"runtimes"}, "who knows it now?"
