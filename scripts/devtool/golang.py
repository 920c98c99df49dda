"""A Go toolchain for gofmt, go vet and go test, where this machine has none that is new enough."""

from __future__ import annotations

import re
import shutil
import sys
from functools import cache
from pathlib import Path

from devtool import shell
from devtool.paths import ROOT, STATE, digest
from devtool.ui import Problem, step

_LOCK = ROOT / "requirements" / "go.txt"
_MINIMUM = (1, 24)


@cache
def ensure() -> Path:
    """Return a `go` of at least Debian 13's version."""
    own = shutil.which("go")
    if own and _version(Path(own)) >= _MINIMUM:
        return Path(own)
    target = STATE / "go"
    stamp = target / ".stamp"
    wanted = digest([_LOCK], __file__)
    if not stamp.exists() or stamp.read_text() != wanted:
        with step("Go toolchain"):
            shutil.rmtree(target, ignore_errors=True)
            shell.logged(
                "go",
                (
                    sys.executable,
                    "-m",
                    "pip",
                    "install",
                    "-q",
                    "-q",
                    "--no-deps",
                    "--require-hashes",
                    "-r",
                    _LOCK,
                    "--target",
                    target,
                ),
            )
            stamp.write_text(wanted)
    found = target / "go" / "bin" / "go"
    if _version(found) < _MINIMUM:
        raise Problem("the locked Go toolchain holds no usable `go`", f"Look into {target}")
    return found


def _version(go: Path) -> tuple[int, ...]:
    said = shell.capture((go, "version")).stdout
    match = re.search(r"go(\d+)\.(\d+)", said)
    return tuple(map(int, match.groups())) if match else (0,)
