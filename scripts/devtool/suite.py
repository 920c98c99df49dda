"""`make test`: the stages, their times, and one plain line at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
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
    quality,
    shell,
    testhost,
)
from devtool.paths import ROOT, STATE, VENV_BIN
from devtool.ui import Problem, say

_MOLECULE = ROOT / "molecule"
_REPORTS = STATE / "reports"
_PYTEST_NO_TESTS = 5
# Files of tests are shared out among as many: most of them wait for processes of their own.
_PYTEST_WORKERS = "2"
# Good ones, bad ones: molecule/cases/tests/test_60_evidence.py.
_BUSY_UPDATES = "20,10"
_BROWSER = (
    ("chromium", "chromium", "the pages are tried in it"),
    ("chromedriver", "chromium-driver", "the tests steer Chromium through it"),
)
_MINISIGN = ("minisign", "minisign", "receipts are signed and verified with it")
_RESTIC = ("restic", "restic", "backups are made and restored with it")
_ENGINE = ("docker", "docker.io", "every stack and every test host runs in containers")


@dataclass(frozen=True)
class Stage:
    """A stage that was run; ``tests`` is None where nothing counts them."""

    name: str
    seconds: float
    passed: bool
    tests: int | None

    def __str__(self) -> str:
        result = "passed" if self.passed else "FAILED"
        tests = "-" if self.tests is None else self.tests
        return f"{self.name:24} {self.seconds / 60:7.1f} {tests:>6}  {result}"


@dataclass
class Stages:
    """Stages that were run, in their order."""

    done: list[Stage] = field(default_factory=list)

    def run(self, name: str, work: Callable[[], bool]) -> None:
        """Run one stage; one that fails is shown, and does not keep the next from running."""
        say(f"==> {name}")
        _report(name).unlink(missing_ok=True)
        started = time.monotonic()
        try:
            passed = work()
        except Problem as problem:
            problem.show()
            passed = False
        seconds = time.monotonic() - started
        self.done.append(Stage(name, seconds, passed, _count(_report(name))))
        say(f"    {'passed' if passed else 'FAILED'} in {seconds:.1f} s")

    def conclude(self) -> int:
        """Print a table of the stages and the closing line; return the exit code."""
        say("")
        say(f"{'STAGE':24} {'MINUTES':>7} {'TESTS':>6}  RESULT")
        for stage in self.done:
            say(str(stage))
        failed = sum(not stage.passed for stage in self.done)
        say(f"stages: {len(self.done) - failed} passed, {failed} failed")
        return 1 if failed else 0


def prepare() -> None:
    """Bring everything that tests need; a Problem here ends the run before it begins."""
    # Asked for together, so that an administrator is asked once.
    apt.need(*_BROWSER, _MINISIGN, _RESTIC, *([] if engine.version() else [_ENGINE]))
    galaxy.ensure()
    golang.ensure()
    engine.ensure()
    images.ensure_testhost()
    cli_plugins.ensure()


def everything() -> int:
    """Run lint, unit and contract tests and every Molecule scenario."""
    prepare()
    stages = Stages()
    stages.run("lint", quality.run)
    _unit_stages(stages)
    _scenario_stages(stages, scenarios())
    return stages.conclude()


def lint() -> int:
    """Run the checkers alone."""
    galaxy.ensure()
    stages = Stages()
    stages.run("lint", quality.run)
    return stages.conclude()


def units() -> int:
    """Run unit and contract tests alone."""
    prepare()
    stages = Stages()
    _unit_stages(stages)
    return stages.conclude()


def scenarios() -> list[str]:
    """Return the names of the Molecule scenarios."""
    return sorted(path.parent.name for path in _MOLECULE.glob("*/molecule.yml"))


def some_scenarios(name: str | None) -> int:
    """Run one Molecule scenario, or all."""
    known = scenarios()
    if name is not None and name not in known:
        raise Problem(f"there is no scenario {name!r}", f"There are: {', '.join(known)}")
    prepare()
    stages = Stages()
    _scenario_stages(stages, [name] if name else known)
    return stages.conclude()


def long() -> int:
    """Play what does not fit into `make test`: thirty updates of a host that has no time left."""
    prepare()
    stages = Stages()
    os.environ |= {"MOORAGE_BUSY_UPDATES": _BUSY_UPDATES, "PYTEST_ADDOPTS": "-s -k busy_host"}
    stages.run("molecule cases", partial(molecule, "cases"))
    return stages.conclude()


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


def _scenario_stages(stages: Stages, names: list[str]) -> None:
    with testhost.building_once():
        for name in names:
            stages.run(f"molecule {name}", partial(molecule, name))


def _unit_stages(stages: Stages) -> None:
    stages.run("pytest", _pytest)
    for module in sorted(path for path in quality.project_files() if path.name == "go.mod"):
        stages.run(f"go test {module.parent}", partial(_go_test, ROOT / module.parent))


def _go_test(module: Path) -> bool:
    return shell.foreground((golang.ensure(), "test", "./..."), cwd=module) == 0


def _pytest() -> bool:
    spread = ("--numprocesses", _PYTEST_WORKERS, "--dist", "loadfile")
    report = f"--junitxml={_report('pytest')}"
    argv = (VENV_BIN / "python", "-m", "pytest", "--durations=10", *spread, report)
    status = shell.foreground(argv)
    if status == _PYTEST_NO_TESTS:
        say("    pytest collected nothing: that is a failure too")
    return status == 0


def _report(stage: str) -> Path:
    return _REPORTS / f"{stage.replace(' ', '-')}.xml"


def _count(report: Path) -> int | None:
    """Return how many tests a report of pytest's tells of (JUnit's XML)."""
    try:
        suites = ElementTree.parse(report).getroot()  # noqa: S314 - our own pytest wrote it
    except (OSError, ElementTree.ParseError):
        return None
    return sum(int(suite.get("tests", 0)) for suite in suites)
