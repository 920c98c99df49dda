"""What services are run with: virtual environments, and programs built from sources in Go."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection
from pathlib import Path

from devtool import golang, shell
from devtool.paths import ROOT, digest
from devtool.rootless.places import Places
from devtool.ui import Problem, step
from moorage.common.files import lead

_COMPLETE = ".complete"
_WHEELS = ROOT / ".local" / "wheels"
_SUPERVISOR = ROOT / "requirements" / "local.txt"


def supervisor() -> Path:
    """Return the directory of Supervisor's programs, in an environment of its own.

    `.local/supervisorctl` leads to the one that people call.
    """
    local = ROOT / ".local"
    programs = _ensure(local / "supervisor", _SUPERVISOR, "Supervisor") / "bin"
    lead(local / "supervisorctl", str(programs / "supervisorctl"))
    return programs


def python(places: Places, requirements: Path) -> Path:
    """Return the directory of the programs of an environment with these requirements."""
    title = f"Python environment ({requirements.name})"
    return _ensure(places.base / "venv", requirements, title) / "bin"


def tidy(places: Places, used: Collection[Path]) -> None:
    """Remove the environments of a stack whose programs no service uses any more."""
    for path in (places.base / "venv").glob("*"):
        if path / "bin" not in used:
            shutil.rmtree(path)


def _ensure(base: Path, requirements: Path, title: str) -> Path:
    # An environment does not survive being moved, so its path is part of what it is.
    path = base / digest([requirements], sys.version, str(base))[:12]
    if (path / _COMPLETE).exists():
        return path
    with step(title):
        shutil.rmtree(path, ignore_errors=True)
        shell.logged("venv", (sys.executable, "-m", "venv", "--without-pip", path))
        pip = (sys.executable, "-m", "pip", "--no-input", "--quiet", "--disable-pip-version-check")
        what = ("--require-hashes", "--only-binary", ":all:", "--requirement", requirements)
        # With no index asked, as pip does for each package in spite of its cache; and Python
        # compiles what it uses.
        install = (*pip, "--python", path / "bin" / "python", "install", "--no-compile",
                   "--no-index", "--find-links", _WHEELS, *what)  # fmt: skip
        # A constraint file of the machine has nothing to add to a lock.
        env = {"PIP_CONSTRAINT": ""}
        try:
            shell.logged("pip", install, env=env)
        except Problem:
            shell.logged("pip", (*pip, "download", "--dest", _WHEELS, *what), env=env)
            shell.logged("pip", install, env=env)
        (path / _COMPLETE).touch()
    return path


def go_build(source: Path, target: Path) -> tuple[str, ...]:
    """Return the command that builds a module in Go; raises Problem where no Go can be had."""
    return (str(golang.ensure()), "-C", str(source), "build", "-o", str(target), ".")
