"""`make test`: the stages, their times, and one plain line at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from devtool import (
    apt,
    certificates,
    cli_plugins,
    engine,
    galaxy,
    golang,
    images,
    lanes,
    quality,
    shell,
    testhost,
)
from devtool.paths import ROOT, STATE, VENV_BIN
from devtool.ui import Problem, say

_MOLECULE = ROOT / "molecule"
_REPORTS = STATE / "reports"
_PYTEST_NO_TESTS = 5
# Of a failed test, at the end of the run: few, as what is kept of a long output may be its end.
_FAILURE_LINES, _WIDTH, _MOST_FAILURES = 6, 400, 10
# So a play and Molecule begin what they say of a failure.
_TROUBLES = ("fatal:", "failed:", "ERROR", "CRITICAL")
# Files of tests are shared out among as many: most of them wait for processes of their own.
_PYTEST_WORKERS = "2"
# Stages at a time. One alone leaves two processors idle for more than half of its minutes, and what
# the tests say must not depend on what else is at work.
_LANES = 2
# Begun first, the others by name: the long ones, so that none is left over at the end, and pytest,
# which takes the most of the processors, when `update` is through, which looks closest at answers.
_FIRST = (
    "lint",
    *("molecule update", "molecule cases", "molecule backup"),
    *("pytest", "molecule taifish"),
)
# Good ones, bad ones: molecule/cases/tests/test_60_evidence.py.
_BUSY_UPDATES = "20,10"
_OPERATIONS = "10000"
_ANY_OPERATIONS = "files/moorage/tests/process_supervisor/test_any_operations.py"
_BROWSER = (
    ("chromium", "chromium", "the pages are tried in it"),
    ("chromedriver", "chromium-driver", "the tests steer Chromium through it"),
)
_MINISIGN = ("minisign", "minisign", "receipts are signed and verified with it")
_RESTIC = ("restic", "restic", "backups are made and restored with it")
_ZSH = ("zsh", "zsh", "the process supervisor completes words in it")
_ENGINE = ("docker", "docker.io", "every stack and every test host runs in containers")


@dataclass(frozen=True)
class Stage:
    """A stage that was run; ``tests`` is None where nothing counts them."""

    name: str
    seconds: float
    passed: bool
    tests: int | None
    failures: list[str]

    def __str__(self) -> str:
        result = "passed" if self.passed else "FAILED"
        tests = "-" if self.tests is None else self.tests
        return f"{self.name:24} {self.seconds / 60:7.1f} {tests:>6}  {result}"


@dataclass
class Stages:
    """Stages that were run, in the order of their ends."""

    done: list[Stage] = field(default_factory=list)
    _begun: float = field(default_factory=time.monotonic)
    _idle: float = field(default_factory=lambda: _idle_seconds())

    def run(self, works: Sequence[tuple[str, lanes.Work]], at_once: int) -> None:
        """Run stages, so many at a time; one that fails does not keep the next from running."""
        for name, _ in works:
            _report(name).unlink(missing_ok=True)
        ends = lanes.run(sorted(works, key=_place), at_once) if at_once > 1 else _in_turn(works)
        for end in ends:
            stage = Stage(end.name, end.seconds, end.passed, *_read(_report(end.name)))
            self.done.append(stage)
            result = "passed" if stage.passed else "FAILED"
            say(f"    {stage.name} {result} in {stage.seconds:.1f} s")

    def conclude(self) -> int:
        """Print what failed, a table of the stages and the closing line; return the exit code.

        At the end, as the whole output is long and who reads it elsewhere may have its end alone.
        """
        for stage in self.done:
            failures = stage.failures or ([] if stage.passed else [_trouble(stage.name)])
            for failure in failures[:_MOST_FAILURES]:
                say(f"\n{stage.name}: {failure}")
        say("")
        say(f"{'STAGE':24} {'MINUTES':>7} {'TESTS':>6}  RESULT")
        for stage in self.done:
            say(str(stage))
        seconds = time.monotonic() - self._begun
        idle = (_idle_seconds() - self._idle) / seconds / (os.cpu_count() or 1)
        say(f"{'all of them':24} {seconds / 60:7.1f}  processors idle {idle:.0%} of the time")
        failed = sum(not stage.passed for stage in self.done)
        say(f"stages: {len(self.done) - failed} passed, {failed} failed")
        return 1 if failed else 0


def _in_turn(works: Sequence[tuple[str, lanes.Work]]) -> Iterator[lanes.Done]:
    """Run stages one after the other, on this terminal."""
    for name, work in works:
        say(f"==> {name}")
        started = time.monotonic()
        try:
            passed = work()
        except Problem as problem:
            problem.show()
            passed = False
        yield lanes.Done(name, time.monotonic() - started, passed)


def _place(work: tuple[str, lanes.Work]) -> int:
    """Return a stage's place in the order of beginning, where several are at work."""
    name = work[0]
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _idle_seconds() -> float:
    """Return for how long processors of this machine were idle, waits for disks included."""
    fields = Path("/proc/stat").read_text().split(maxsplit=6)
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def prepare() -> None:
    """Bring everything that tests need; a Problem here ends the run before it begins."""
    # Asked for together, so that an administrator is asked once.
    apt.need(*_BROWSER, _MINISIGN, _RESTIC, _ZSH, *([] if engine.version() else [_ENGINE]))
    galaxy.ensure()
    golang.ensure()
    engine.ensure()
    images.ensure_testhost()
    cli_plugins.ensure()


def everything() -> int:
    """Run lint, unit and contract tests and every Molecule scenario."""
    prepare()
    with testhost.building_once():
        return _run([("lint", quality.run), *_units(), *_scenarios(scenarios())], _LANES)


def lint() -> int:
    """Run the checkers alone."""
    galaxy.ensure()
    return _run([("lint", quality.run)], 1)


def units() -> int:
    """Run unit and contract tests alone."""
    prepare()
    return _run(_units(), 1)


def scenarios() -> list[str]:
    """Return the names of the Molecule scenarios."""
    return sorted(path.parent.name for path in _MOLECULE.glob("*/molecule.yml"))


def some_scenarios(name: str | None) -> int:
    """Run one Molecule scenario, or all."""
    known = scenarios()
    if name is not None and name not in known:
        raise Problem(f"there is no scenario {name!r}", f"There are: {', '.join(known)}")
    prepare()
    with testhost.building_once():
        return _run(_scenarios([name]), 1) if name else _run(_scenarios(known), _LANES)


def long() -> int:
    """Play what does not fit into `make test`.

    Thirty updates of a host that has no time left, and ten thousand operations of a supervisor.
    """
    prepare()
    os.environ |= {"MOORAGE_BUSY_UPDATES": _BUSY_UPDATES, "MOORAGE_OPERATIONS": _OPERATIONS}
    os.environ["PYTEST_ADDOPTS"] = "-s -k 'busy_host or what_runs_at_the_end'"
    return _run([*_scenarios(["cases"]), ("pytest", partial(_pytest, _ANY_OPERATIONS))], 1)


def molecule(scenario: str) -> bool:
    """Run one scenario from create to destroy; leave no host of it behind."""
    report = f"--junitxml={_report(f'molecule {scenario}')}"
    try:
        status = shell.foreground(
            (VENV_BIN / "molecule", "test", "--no-command-borders", "--scenario-name", scenario),
            env={
                "MOORAGE_EXTRA_CA_BUNDLE": certificates.extra_bundle(),
                "PYTEST_ADDOPTS": f"{os.environ.get('PYTEST_ADDOPTS', '')} {report}",
            },
        )
    finally:
        for name in testhost.names(scenario):
            testhost.destroy(name)
    return status == 0


def _run(works: Sequence[tuple[str, lanes.Work]], at_once: int) -> int:
    stages = Stages()
    stages.run(works, at_once)
    return stages.conclude()


def _scenarios(names: Sequence[str]) -> list[tuple[str, lanes.Work]]:
    return [(f"molecule {name}", partial(molecule, name)) for name in names]


def _units() -> list[tuple[str, lanes.Work]]:
    modules = sorted(path for path in quality.project_files() if path.name == "go.mod")
    return [
        ("pytest", _pytest),
        *((f"go test {path.parent}", partial(_go_test, ROOT / path.parent)) for path in modules),
    ]


def _go_test(module: Path) -> bool:
    return shell.foreground((golang.ensure(), "test", "./..."), cwd=module) == 0


def _pytest(*what: str) -> bool:
    spread = ("--numprocesses", _PYTEST_WORKERS, "--dist", "loadfile")
    report = f"--junitxml={_report('pytest')}"
    argv = (VENV_BIN / "python", "-m", "pytest", "--durations=10", *spread, report, *what)
    status = shell.foreground([*map(str, argv)])
    if status == _PYTEST_NO_TESTS:
        say("    pytest collected nothing: that is a failure too")
    return status == 0


def _report(stage: str) -> Path:
    return _REPORTS / f"{stage.replace(' ', '-')}.xml"


def _read(report: Path) -> tuple[int | None, list[str]]:
    """Return how many tests a report of pytest's tells of (JUnit's XML), and those that failed."""
    try:
        suites = ElementTree.parse(report).getroot()  # noqa: S314 - our own pytest wrote it
    except (OSError, ElementTree.ParseError):
        return None, []
    failures = [
        f"{case.get('classname')}::{case.get('name')}\n{_end(trouble.text or '')}"
        for case in suites.iter("testcase")
        for trouble in (*case.iterfind("failure"), *case.iterfind("error"))
    ]
    return sum(int(suite.get("tests", 0)) for suite in suites), failures


def _end(text: str) -> str:
    """Return what a failed test says of its failure, and where it looked: little of a trace."""
    lines = text.splitlines()
    said = [line for line in lines if line.startswith("E ")][: _FAILURE_LINES - 2]
    where = [line for line in lines if line.partition(":")[0].endswith(".py")]
    found = [*said, *where[:1], *where[1:][-1:]] if said else lines[-_FAILURE_LINES:]
    return "\n".join(f"  | {line[:_WIDTH]}" for line in found)


def _trouble(stage: str) -> str:
    """Return what a stage said of its failure that came before its tests, or of no test."""
    try:
        lines = lanes.log_of(stage).read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    told = [line for line in lines if line.startswith(_TROUBLES)][:_FAILURE_LINES]
    return "\n".join(["no test failed", *(f"  | {line[:_WIDTH]}" for line in told)])
