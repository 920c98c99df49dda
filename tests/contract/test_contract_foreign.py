"""Root works in directories of applications through `moorage.deploy.foreign`, and nowhere else.

Whoever adds code that the host runs as root and that touches such a directory has to say so here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "files/moorage/src/moorage"
# What runs as root on a host.
CODE = [
    *(PACKAGE / "cli").glob("*.py"),
    *(PACKAGE / "common").glob("*.py"),
    *(PACKAGE / "deploy").rglob("*.py"),
    *(PACKAGE / "release").glob("*.py"),
    *(ROOT / "plugins/modules").glob("*.py"),
    *(ROOT / "plugins/module_utils/moorage_host").glob("*.py"),
]
FOREIGN = PACKAGE / "deploy/foreign.py"
# By path, and through links where somebody has put one.
BY_PATH = {
    "os.chown", "os.lchown", "os.chmod", "os.mkfifo", "os.mknod", "os.link", "os.walk",
    "os.symlink", "os.removedirs",
    "shutil.chown", "shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copymode",
    "shutil.copystat", "shutil.copytree", "shutil.move", "shutil.rmtree",
}  # fmt: skip
# Where it happens in a directory of root's own.
OWN = {
    ("release.py", "_scratch_directory", "shutil.rmtree"),  # /opt/STACK/releases
    ("release.py", "prune_releases", "shutil.rmtree"),
    ("moorage_runtime.py", "install", "shutil.rmtree"),  # /usr/local/lib/moorage
    ("moorage_secrets.py", "_own", "os.chown"),  # /opt/STACK/secrets
}
# Who may name a directory of an application at all. They hand it to `foreign`, ask whether it is
# there, or have it connected to by `process_supervisor.client.connect`, which follows no link.
NAMED = {
    ("unified.py", "prepare", "runtime"),
    ("unified.py", "prepare", "state"),
    ("unified.py", "retire", "runtime"),
    ("unified.py", "_client", "runtime"),
    ("systemd.py", "withdraw", "runtime"),
    ("control.py", "_socket", "control_socket"),
    ("control.py", "_parts", "control_socket"),
    ("layout.py", "control_socket", "runtime"),
}
NAMES = {"runtime", "state", "control_socket"}
PARTS = {"data", "logs"}


def functions(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Yield the nodes of a file with the name of the function that each is in."""

    def walk(node: ast.AST, name: str) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            inner = child.name if isinstance(child, ast.FunctionDef) else name
            yield inner, child
            yield from walk(child, inner)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), "")


def calls(wanted: set[str]) -> set[tuple[str, str, str]]:
    """Return file, function and name of the calls of these functions of modules."""
    return {
        (path.name, name, ast.unparse(node.func))
        for path in CODE
        if path != FOREIGN
        for name, node in functions(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in wanted
    }


def test_nothing_is_given_copied_or_removed_by_path_but_in_directories_of_root() -> None:
    assert calls(BY_PATH) == OWN


def test_directories_of_applications_are_named_where_they_are_worked_on_with_care() -> None:
    found = {
        (path.name, name, node.func.attr)
        for path in CODE
        for name, node in functions(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in NAMES
    }
    assert found == NAMED


def test_no_path_below_data_or_logs_is_put_together_elsewhere() -> None:
    found = {
        (path.name, name)
        for path in CODE
        for name, node in functions(path)
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Div)
        and isinstance(node.right, ast.Constant)
        and node.right.value in PARTS
    }
    assert found == {("layout.py", "data")}


def test_the_parts_are_still_there() -> None:
    for path in CODE:
        assert path.is_file(), path
