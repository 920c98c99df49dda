"""`make lock`: requirements/*.txt anew from requirements/*.in, with hashes, for every platform."""

from __future__ import annotations

from devtool import shell
from devtool.paths import ROOT, VENV_BIN
from devtool.ui import say, step

# Order matters: dev is held to what controller resolved to. Where dependencies are left out, it is
# one wheel.
_LOCKS = (
    ("controller", True),
    ("dev", True),
    ("build", False),
    ("collections", False),
    ("go", False),
    ("local", True),
)


def renew() -> int:
    """Resolve every lock anew within what its .in file and its present .txt allow."""
    for name, with_dependencies in _LOCKS:
        with step(f"requirements/{name}.txt"):
            shell.logged(
                "lock",
                (VENV_BIN / "uv", "pip", "compile", "--universal", "--generate-hashes", "--quiet")
                + ("--no-emit-index-url", "--no-emit-find-links", "--python-version", "3.12")
                + (() if with_dependencies else ("--no-deps",))
                + ("--output-file", f"requirements/{name}.txt", f"requirements/{name}.in"),
                env={"UV_CUSTOM_COMPILE_COMMAND": "make lock"},
            )
    say(f"Look at the difference before you commit it: git -C {ROOT} diff requirements/")
    return 0
