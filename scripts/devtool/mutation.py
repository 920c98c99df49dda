"""`make test-mutation`: which small mistakes in the code would no fast test notice?

A sample of mutations (comparisons, booleans, numbers, removed calls, returned constants) is tried
one by one in a copy of the checkout. Tests of a module are those below `files/moorage/tests/` that
name it in an import; where none does, the directory called like its package. The seed is shown:
the same seed and the same sources give the same sample.
"""

from __future__ import annotations

import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

from devtool.paths import ROOT
from devtool.quality import project_files
from devtool.ui import say

_SOURCES = Path("files/moorage/src")
_TESTS = Path("files/moorage/tests")
_PACKAGES = ("process_supervisor", "deploy", "control", "probe", "edge")
_TEST_SECONDS = 120.0
_FLIPS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip


def run() -> int:
    """Try mutations for MINUTES (20), print those that survive; 1 below the share SHARE (0.5)."""
    seed = int(os.environ.get("SEED") or time.time())
    minutes = float(os.environ.get("MINUTES") or 20)
    packages = (os.environ.get("PACKAGES") or ",".join(_PACKAGES)).split(",")
    say(f"SEED={seed} MINUTES={minutes:g} PACKAGES={','.join(packages)}")
    sound: dict[tuple[str, ...], bool] = {}
    caught, tried = Counter[str](), Counter[str]()
    chance = random.Random(seed)  # noqa: S311
    deadline = time.monotonic() + minutes * 60
    with tempfile.TemporaryDirectory(prefix="mutation-") as name:
        copy = Path(name)
        for path in project_files():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, copy / path, follow_symlinks=False)
        for package, path, line, what, text in _sample(packages, chance, deadline):
            tests = _tests_of(path, package)
            if time.monotonic() > deadline:
                break
            # Tests that fail without a mistake tell nothing of one.
            if not tests or not _sound(copy, tests, sound, deadline):
                continue
            before = (copy / path).read_text()
            (copy / path).write_text(text)
            red = _red(copy, tests, deadline)
            (copy / path).write_text(before)
            if red is None:
                break
            tried[package] += 1
            caught[package] += red
            say(f"{'caught' if red else 'SURVIVED'}  {path}:{line}  {what}")
    for package in sorted(tried):
        say(f"{package}: {caught[package]} of {tried[package]} caught")
    wanted = float(os.environ.get("SHARE") or 0.5)
    return int(not tried.total() or caught.total() < wanted * tried.total())


def _sample(
    packages: list[str], chance: random.Random, deadline: float
) -> Iterator[tuple[str, Path, int, str, str]]:
    """Yield mutations until the deadline: package, file, line, what it is, the whole new text."""
    while time.monotonic() < deadline:
        for package in packages:
            own = package if package == "process_supervisor" else f"moorage/{package}"
            path = chance.choice(sorted((ROOT / _SOURCES / own).rglob("*.py")))
            tree = ast.parse(path.read_text())
            spots = [n for n, node in enumerate(ast.walk(tree)) if mutate(deepcopy(node))]
            if not spots:
                continue
            node = list(ast.walk(tree))[chance.choice(spots)]
            line, old = getattr(node, "lineno", 0), ast.unparse(node)
            mutate(node)
            what = f"{old.splitlines()[0][:60]}  =>  {ast.unparse(node).splitlines()[0][:60]}"
            text = ast.unparse(ast.fix_missing_locations(tree)) + "\n"
            yield package, path.relative_to(ROOT), line, what, text


def mutate(node: ast.AST) -> bool:
    """Make one small mistake of a node, in place; False where there is none to make."""
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in _FLIPS:
            node.ops[0] = _FLIPS[type(op)]()
        case ast.BoolOp(op=op):
            node.op = ast.Or() if isinstance(op, ast.And) else ast.And()
        case ast.UnaryOp(op=ast.Not()):
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
        case ast.Constant(value=bool() as value):
            node.value = not value
        case ast.Constant(value=int() | float() as value):
            node.value = value + 1
        case ast.Expr(value=ast.Call()):
            node.value = ast.Constant(None)
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            node.value = ast.Constant(None)
        case _:
            return False
    return True


def _tests_of(path: Path, package: str) -> list[str]:
    module = ".".join(path.relative_to(_SOURCES).with_suffix("").parts)
    parent, _, name = module.rpartition(".")
    known = (f"from {module} import", f"import {module}\n", f"from {parent} import {name}\n")
    files = sorted((ROOT / _TESTS).glob("**/test_*.py"))
    found = [f for f in files if any(text in f.read_text() for text in known)]
    found = found or sorted((ROOT / _TESTS / package).glob("test_*.py"))
    return [str(f.relative_to(ROOT)) for f in found]


def _sound(
    copy: Path, tests: list[str], known: dict[tuple[str, ...], bool], deadline: float
) -> bool:
    key = tuple(tests)
    if key not in known:
        red = _red(copy, tests, deadline)
        if red is None:
            return False
        known[key] = not red
        if not known[key]:
            say(f"left out, red without a mutation: {' '.join(tests)}")
    return known[key]


def _red(copy: Path, tests: list[str], deadline: float) -> bool | None:
    """Tell whether the tests fail, or never end; None where the deadline came first."""
    argv = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    sources = os.pathsep.join(str(copy / part) for part in (_SOURCES, "scripts", ""))
    env = {**os.environ, "PYTHONPATH": sources, "PYTHONDONTWRITEBYTECODE": "1"}
    env.setdefault("DOCKER_CONFIG", str(ROOT / ".state/docker-cli"))
    process = subprocess.Popen(
        argv, cwd=copy, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    left = max(0.0, deadline - time.monotonic())
    try:
        return process.wait(min(_TEST_SECONDS, left)) != 0
    except subprocess.TimeoutExpired:
        # Gently first: fixtures take away what they have started.
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return True if left > _TEST_SECONDS else None
