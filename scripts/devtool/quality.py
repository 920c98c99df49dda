"""`make lint`: every checker over every file it is for, all of them before it says no."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devtool import golang, shell
from devtool.paths import ROOT, VENV_BIN
from devtool.ui import say

_TYPED = ("files", "plugins", "scripts", "tests", "molecule")


@dataclass(frozen=True)
class Check:
    """A checker: its name, its command line, and where it has to be started."""

    name: str
    argv: Sequence[str | Path]
    cwd: Path = ROOT
    # gofmt says what is wrong on standard output and still succeeds.
    output_is_failure: bool = False


def run() -> bool:
    """Run every check and return whether all passed."""
    failed = [check.name for check in checks() if not _passes(check)]
    if failed:
        say(f"    lint failed: {', '.join(failed)}")
    return not failed


def checks() -> list[Check]:
    """Return the checks that this checkout needs; none without a file that it is for."""
    files = project_files()
    tool = VENV_BIN
    found = [
        Check("yamllint", (tool / "yamllint", "--strict", ".")),
        Check("ansible-lint", (tool / "ansible-lint", "--offline", "-q", "--profile=production")),
        Check("ruff check", (tool / "ruff", "check", "--quiet", ".")),
        Check("ruff format", (tool / "ruff", "format", "--quiet", "--diff", ".")),
        Check("mypy", (tool / "mypy", *_typed_files(files))),
    ]
    for name, argv, chosen in (
        ("shellcheck", ("shellcheck",), _matching(files, _is_shell)),
        ("hadolint", ("hadolint",), _matching(files, _is_dockerfile)),
        (
            "workflows",
            ("check-jsonschema", "-q", "--builtin-schema", "vendor.github-workflows"),
            _matching(files, lambda p: p.parent.name == "workflows" and p.suffix == ".yml"),
        ),
    ):
        if chosen:
            found.append(Check(name, (tool / argv[0], *argv[1:], *chosen)))
    for module in sorted(p.parent for p in files if p.name == "go.mod"):
        found.extend(_go_checks(ROOT / module))
    return found


def project_files() -> list[Path]:
    """Return every file of the checkout that git knows or would take, relative to its root."""
    listed = shell.output(
        ("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard")
    )
    return [path for path in map(Path, listed.splitlines()) if (ROOT / path).is_file()]


def _go_checks(module: Path) -> Iterable[Check]:
    go = golang.ensure()
    name = module.relative_to(ROOT)
    yield Check(f"gofmt {name}", (go.with_name("gofmt"), "-l", "."), module, True)
    yield Check(f"go vet {name}", (go, "vet", "./..."), module)


def _passes(check: Check) -> bool:
    started = time.monotonic()
    done = subprocess.run(
        [str(word) for word in check.argv],
        env=shell.environment(),
        cwd=check.cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    good = done.returncode == 0 and not (check.output_is_failure and done.stdout.strip())
    if not good:
        say(done.stdout.rstrip())
    say(f"    {'ok  ' if good else 'FAIL'} {check.name} ({time.monotonic() - started:.1f} s)")
    return good


def _matching(files: Iterable[Path], wanted: Callable[[Path], bool]) -> list[Path]:
    return [path for path in files if wanted(path)]


def _typed_files(files: Iterable[Path]) -> list[Path]:
    return [p for p in files if p.suffix in (".py", ".pyi") and p.parts[0] in _TYPED]


def _is_dockerfile(path: Path) -> bool:
    return path.name == "Dockerfile" or path.name.startswith("Dockerfile.")


def _is_shell(path: Path) -> bool:
    if path.suffix == ".sh":
        return True
    if path.suffix:
        return False
    with (ROOT / path).open("rb") as stream:
        first = stream.readline(80)
    return first.startswith(b"#!") and first.rstrip().endswith((b"/sh", b"bash", b"env sh"))
