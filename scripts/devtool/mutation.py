"""`make test-mutation`: which small mistakes in the code would no fast test notice?

A sample of mutations (comparisons, booleans, numbers, removed calls, returned constants) is tried
one by one in a copy of the checkout. Tests of a package are those of the directory called like it;
they run once without a mistake, which tells how long each takes and which functions it enters.
A mutation is then shown to the tests that enter its function, the quickest first, for at most
`_TESTS_SECONDS` of them. The seed is shown: with the same sources it gives the same sample.
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
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

from devtool.paths import ROOT
from devtool.quality import project_files
from devtool.ui import say

# At the end of our packages in the copy, so that an isolated interpreter runs it too: every process
# says which of their functions it enters, once for each test. One with an environment of its own
# does not know the test, only its file.
_TRACE = """\
import os, sys

def entered(code, _):
    if code.co_filename.startswith({sources!r}):
        test = os.environ.get("PYTEST_CURRENT_TEST", {file!r}).rpartition(" (")[0] or {file!r}
        try:
            to = os.open({trace!r}, os.O_WRONLY | os.O_APPEND)
            os.write(to, f"{{code.co_filename}}\\t{{code.co_firstlineno}}\\t{{test}}\\n".encode())
            os.close(to)
        except OSError:
            pass
    return sys.monitoring.DISABLE

if hasattr(sys, "monitoring") and not sys.monitoring.get_tool(3):
    sys.monitoring.use_tool_id(3, "mutation")
    sys.monitoring.register_callback(3, sys.monitoring.events.PY_START, entered)
    sys.monitoring.set_events(3, sys.monitoring.events.PY_START)
"""

_SOURCES = Path("files/moorage/src")
_TESTS = Path("files/moorage/tests")
_PACKAGES = ("process_supervisor", "deploy", "control", "probe", "edge")
# What one file of tests may take when it is learnt, and what tests of one mutation take together.
_FILE_SECONDS = 60.0
_TESTS_SECONDS = 20.0
_FLIPS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """A mistake: the file and function (its first line, 0 outside of all) and the new text."""

    path: Path
    line: int
    function: int
    what: str
    text: str


@dataclass
class Knowledge:
    """What the tests of a package take in seconds, and which of them enter which function."""

    seconds: dict[str, float] = field(default_factory=dict)
    entered: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))

    def tests_of(self, mutation: Mutation) -> list[str]:
        """Return the tests to show a mutation to, those of a file together."""
        here = str(mutation.path)
        found = self.entered.get((here, mutation.function), set()) if mutation.function else set()
        if not mutation.function:
            found = set().union(*(to for (path, _), to in self.entered.items() if path == here))
        known = {test for test in self.seconds if test in found or _file(test) in found}
        # A test that entered it by itself before those of which only the file is known.
        ranked = sorted(known, key=lambda test: (test not in found, self.seconds[test]))
        chosen, total = list[str](), 0.0
        for test in ranked:
            total += self.seconds[test]
            if chosen and total > _TESTS_SECONDS:
                break
            chosen.append(test)
        files = list(dict.fromkeys(_file(test) for test in chosen))
        return sorted(chosen, key=lambda test: files.index(_file(test)))


def run() -> int:
    """Try mutations, print those that survive; 1 below the share SHARE (0.5).

    It ends after MINUTES (20), or when each of PACKAGES has had MUTANTS (no limit).
    """
    seed = int(os.environ.get("SEED") or time.time())
    minutes = float(os.environ.get("MINUTES") or 20)
    limit = int(os.environ.get("MUTANTS") or sys.maxsize)
    packages = (os.environ.get("PACKAGES") or ",".join(_PACKAGES)).split(",")
    say(f"SEED={seed} MINUTES={minutes:g} PACKAGES={','.join(packages)}")
    caught, tried = Counter[str](), Counter[str]()
    survivors: list[str] = []
    # Each package has its share of what time there is left.
    end = time.monotonic() + minutes * 60
    with tempfile.TemporaryDirectory(prefix="mutation-") as name:
        copy = Path(name)
        # Some tests run our code as another user.
        copy.chmod(0o755)
        for path in project_files():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, copy / path, follow_symlinks=False)
        for at, package in enumerate(packages):
            now = time.monotonic()
            deadline = now + (end - now) / (len(packages) - at)
            known = _learn(copy, package, deadline)
            for mutation in _sample(package, random.Random(seed)):  # noqa: S311
                if tried[package] >= limit or time.monotonic() > deadline or not known.seconds:
                    break
                red = _try(copy, mutation, known, deadline)
                if red is None:
                    break
                tried[package] += 1
                caught[package] += red
                line = f"{mutation.path}:{mutation.line}  {mutation.what}"
                say(f"{'caught' if red else 'SURVIVED'}  {line}")
                survivors += [] if red else [line]
    say("Survivors:" if survivors else "No survivors.")
    for line in survivors:
        say(f"    {line}")
    for package in packages:
        say(f"{package}: {caught[package]} of {tried[package]} caught")
    wanted = float(os.environ.get("SHARE") or 0.5)
    return int(not tried.total() or caught.total() < wanted * tried.total())


def _sample(package: str, chance: random.Random) -> Iterator[Mutation]:
    """Yield the mutations of a package, each once, as chance orders them."""
    own = package if package == "process_supervisor" else f"moorage/{package}"
    files = sorted((ROOT / _SOURCES / own).rglob("*.py"))
    spots = {path: _spots(ast.parse(path.read_text())) for path in files}
    everything = [(path, spot) for path, found in spots.items() for spot in found]
    chance.shuffle(everything)
    for path, spot in everything:
        tree = ast.parse(path.read_text())
        node = list(ast.walk(tree))[spot]
        line, old = getattr(node, "lineno", 0), ast.unparse(node)
        function = _function_at(tree, line)
        mutate(node)
        what = f"{old.splitlines()[0][:60]}  =>  {ast.unparse(node).splitlines()[0][:60]}"
        text = ast.unparse(ast.fix_missing_locations(tree)) + "\n"
        yield Mutation(path.relative_to(ROOT), line, function, what, text)


def _spots(tree: ast.AST) -> list[int]:
    return [at for at, node in enumerate(ast.walk(tree)) if mutate(deepcopy(node))]


def _function_at(tree: ast.AST, line: int) -> int:
    """Return the first line of the innermost function around a line, of its first decorator."""
    starts = [
        min(part.lineno for part in (node, *node.decorator_list))
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.lineno <= line <= (node.end_lineno or line)
    ]
    return max(starts, default=0)


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


def _learn(copy: Path, package: str, deadline: float) -> Knowledge:
    """Run a package's tests without a mistake; those that fail by themselves tell nothing."""
    known = Knowledge()
    trace, times = copy / "trace", copy / "times"
    hook, sources = copy / "hook.py", str(copy / _SOURCES)
    packages = {path: path.read_text() for path in (copy / _SOURCES).glob("*/__init__.py")}
    for path, text in packages.items():
        path.write_text(f"{text}\nexec(open({str(hook)!r}).read(), {{}})\n")
    failed = set[str]()
    for test in sorted((copy / _TESTS / package).glob("test_*.py")):
        file = str(test.relative_to(copy))
        hook.write_text(_TRACE.format(sources=sources, file=file, trace=str(trace)))
        trace.write_text("")
        trace.chmod(0o666)
        times.write_text("")
        _pytest(copy, [file], min(_FILE_SECONDS, deadline - time.monotonic()), MUTATION_TIMES=times)
        for line in times.read_text().splitlines():
            name, seconds, outcome = line.split("\t")
            known.seconds[name] = known.seconds.get(name, 0.0) + float(seconds)
            failed |= {name} if outcome == "failed" else set()
        for line in trace.read_text().splitlines():
            where, first, name = line.split("\t")
            known.entered[str(Path(where).relative_to(copy)), int(first)].add(name)
    for path, text in packages.items():
        path.write_text(text)
    for name in failed:
        known.seconds.pop(name)
        say(f"left out, red without a mutation: {name}")
    say(f"{package}: {len(known.seconds)} tests, {sum(known.seconds.values()):.0f} s")
    return known


def _try(copy: Path, mutation: Mutation, known: Knowledge, deadline: float) -> bool | None:
    """Tell whether tests notice a mutation; None where the deadline came first."""
    tests = known.tests_of(mutation)
    if not tests:
        return False
    (copy / "tests.txt").write_text("\n".join(tests))
    before = (copy / mutation.path).read_text()
    (copy / mutation.path).write_text(mutation.text)
    usual = sum(known.seconds[test] for test in tests)
    left = deadline - time.monotonic()
    patience = 30 + 3 * usual
    files = list(dict.fromkeys(map(_file, tests)))
    try:
        code = _pytest(copy, files, min(left, patience), MUTATION_TESTS=copy / "tests.txt")
    finally:
        (copy / mutation.path).write_text(before)
    # What never ends is noticed too.
    return code != 0 if code is not None else (True if left > patience else None)


def _file(test: str) -> str:
    return test.partition("::")[0]


def _pytest(copy: Path, files: Sequence[str], seconds: float, **own: Path) -> int | None:
    """Run tests until the first failure and return pytest's code; None when the time was up."""
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={copy}"]
    argv += [f"--basetemp={copy}/t"]
    argv += ["-p", "devtool.mutation_plugin", *(["-x"] if "MUTATION_TESTS" in own else []), *files]
    parts = (copy / _SOURCES, copy / "scripts", copy, Path(__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, parts))}
    # Apart from the copy, whose sources change; not what a mutation or other people have left.
    env |= {"PYTHONPYCACHEPREFIX": f"{copy}/.pyc", **{key: str(path) for key, path in own.items()}}
    # Plugins of other suites take seconds to load; what cannot do without is left out as red.
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    env.setdefault("DOCKER_CONFIG", str(ROOT / ".state/docker-cli"))
    process = subprocess.Popen(
        argv, cwd=copy, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        return process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        # Gently first: fixtures take away what they have started.
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return None
