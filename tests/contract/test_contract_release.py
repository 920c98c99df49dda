"""What controller and hosts both have to know of a release stands in `moorage.release` alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.release import names

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "files/moorage/src/moorage"
CODE = [
    path
    for directory in (PACKAGE, ROOT / "plugins")
    for path in sorted(directory.rglob("*.py"))
    if "release" not in path.relative_to(directory).parts[:1] and not path.is_symlink()
]
# By themselves or as the beginning of a longer one.
BEGINNINGS = (
    names.STACK_LABEL, names.SERVICE_LABEL, names.REPLICA_LABEL, names.SLOT_LABEL,
    names.CONFIG_LABEL, names.CONFIGS, names.RECEIPT, names.LIBRARY, names.COMMAND,
)  # fmt: skip
FILES = (names.MANIFEST, names.COMPOSE, names.COMPOSE_JSON, names.SUPERVISOR, names.GATEWAY_UNIT)
ELSEWHERE = {
    # What a person may call the file that a stack is described in.
    ("compose/load.py", names.COMPOSE),
}


def literals(path: Path) -> Iterator[str]:
    """Yield the strings of a file that are no documentation, and the fixed parts of others."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in documentation:
            yield str(node.value)


def is_name(text: str) -> bool:
    """Tell whether a string is a name of `moorage.release.names`."""
    return (
        text in FILES
        or text.startswith(BEGINNINGS)
        or text.endswith((names.NEXT, *(f"/{name}" for name in FILES)))
    )


def test_labels_and_file_names_of_a_release_stand_once() -> None:
    found = {
        (path.relative_to(PACKAGE).as_posix() if PACKAGE in path.parents else path.name, text)
        for path in CODE
        for text in literals(path)
        if is_name(text)
    }
    assert found == ELSEWHERE


@pytest.mark.parametrize("text", ["moorage.config", "moorage.config.", "x-next", "*/release.json"])
def test_a_name_is_known_where_it_stands(text: str) -> None:
    assert is_name(text)
