"""Environments: in the place of an image, for processes that run without a container.

One is a directory on the host, with a directory for each of its sources and `venv`, a virtual
environment, when there are requirements. It is root's, everybody reads it, and nothing in it
changes once it is complete.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import py_compile
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moorage.common.files import write_atomically
from moorage.release.layout import Layout
from moorage.release.native import ENVIRONMENTS

VENV = "venv"
REQUIREMENTS = "requirements.txt"
# Written last, and removed first: the hash of what went in.
COMPLETE = ".complete"
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def is_complete(path: Path) -> bool:
    """Tell whether an environment was finished, and the Python of its venv is still the host's."""
    if not (path / COMPLETE).is_file():
        return False
    venv = path / VENV
    # After an upgrade of Debian it is another one, which looks for packages elsewhere.
    python = (venv / "bin" / "python3").resolve()
    return not venv.is_dir() or (python.exists() and (venv / "lib" / python.name).is_dir())


@contextmanager
def begun(path: Path, digest: str) -> Iterator[None]:
    """Fill an environment within this: complete in the end, and gone when that fails.

    It is made where it stays, since programs of a venv carry their path; what an earlier build has
    left there goes first.
    """
    remove(path)
    path.mkdir(parents=True)
    path.parent.chmod(0o755)
    try:
        yield
        # Who runs from it cannot write here, and its files never change: nothing is compared.
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        compileall.compile_dir(path, quiet=2, invalidation_mode=mode)
        _settle_modes(path)
        # A power cut must not leave the mark of files that are empty.
        os.sync()
        write_atomically(path / COMPLETE, f"{digest}\n")
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def remove(path: Path) -> None:
    """Remove an environment, complete or not."""
    (path / COMPLETE).unlink(missing_ok=True)
    if path.exists():
        shutil.rmtree(path)


def size(path: Path) -> int:
    """Return the bytes in the files of an environment."""
    return sum(file.lstat().st_size for file in _files(path))


def sweep_wheels(layout: Layout) -> None:
    """Remove the wheels that no environment of this host has asked for."""
    stacks = layout.base.parent
    wanted: set[str] = set()
    for file in stacks.glob(f"*/{ENVIRONMENTS}/*/{REQUIREMENTS}"):
        wanted.update(_HASH.findall(file.read_text(encoding="utf-8")))
    for wheel in layout.wheels.glob("*.whl"):
        if hashlib.sha256(wheel.read_bytes()).hexdigest() not in wanted:
            wheel.unlink()


def _settle_modes(path: Path) -> None:
    for where, _, _ in os.walk(path):
        Path(where).chmod(0o755)
    for file in _files(path):
        if not file.is_symlink():
            file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)


def _files(path: Path) -> Iterator[Path]:
    for where, _, names in os.walk(path):
        yield from (Path(where, name) for name in names)
