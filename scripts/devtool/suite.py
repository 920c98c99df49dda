"""`make test`: the stages, their times, and one plain line at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

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
from devtool.paths import ROOT, VENV_BIN
from devtool.ui import Problem, say

_MOLECULE = ROOT / "molecule"
_PYTEST_NO_TESTS = 5
_BROWSER = (
    ("chromium", "chromium", "the pages are tried in it"),
    ("chromedriver", "chromium-driver", "the tests steer Chromium through it"),
)
_MINISIGN = ("minisign", "minisign", "receipts are signed and verified with it")
_ENGINE = ("docker", "docker.io", "every stack and every test host runs in containers")


@dataclass
class Stages:
    """Stages that were run: name, seconds, and whether they passed."""

    done: list[tuple[str, float, bool]] = field(default_factory=list)

    def run(self, name: str, work: Callable[[], bool]) -> None:
        """Run one stage; one that fails is shown, and does not keep the next from running."""
        say(f"==> {name}")
        started = time.monotonic()
        try:
            passed = work()
        except Problem as problem:
            problem.show()
            passed = False
        seconds = time.monotonic() - started
        self.done.append((name, seconds, passed))
        say(f"    {'passed' if passed else 'FAILED'} in {seconds:.1f} s")

    def conclude(self) -> int:
        """Print every stage with its time and the closing line; return the exit code."""
        say("")
        for name, seconds, passed in self.done:
            say(f"{'passed' if passed else 'FAILED'}  {seconds:7.1f} s  {name}")
        failed = sum(not passed for *_, passed in self.done)
        say(f"stages: {len(self.done) - failed} passed, {failed} failed")
        return 1 if failed else 0


def prepare() -> None:
    """Bring everything that tests need; a Problem here ends the run before it begins."""
    # Asked for together, so that an administrator is asked once.
    apt.need(*_BROWSER, _MINISIGN, *([] if engine.version() else [_ENGINE]))
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
    for scenario in scenarios():
        stages.run(f"molecule {scenario}", partial(molecule, scenario))
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
    for scenario in [name] if name else known:
        stages.run(f"molecule {scenario}", partial(molecule, scenario))
    return stages.conclude()


def molecule(scenario: str) -> bool:
    """Run one scenario from create to destroy; leave no host of it behind."""
    try:
        status = shell.foreground(
            (VENV_BIN / "molecule", "test", "--no-command-borders", "--scenario-name", scenario),
            env={"MOORAGE_EXTRA_CA_BUNDLE": certificates.extra_bundle()},
        )
    finally:
        for name in testhost.names(scenario):
            testhost.destroy(name)
    return status == 0


def _unit_stages(stages: Stages) -> None:
    stages.run("pytest", _pytest)
    for module in sorted(path for path in quality.project_files() if path.name == "go.mod"):
        stages.run(f"go test {module.parent}", partial(_go_test, ROOT / module.parent))


def _go_test(module: Path) -> bool:
    return shell.foreground((golang.ensure(), "test", "./..."), cwd=module) == 0


def _pytest() -> bool:
    status = shell.foreground((VENV_BIN / "python", "-m", "pytest", "--durations=10"))
    if status == _PYTEST_NO_TESTS:
        say("    pytest collected nothing: that is a failure too")
    return status == 0
