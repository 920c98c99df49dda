"""Command lines beside a process: as its user, with its variables, which no argument shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moorage.deploy.runtimes.base import Surroundings
from moorage.deploy.runtimes.entering import entered, variables_of, write_variables
from moorage.release.layout import Layout
from moorage.release.native import Process

AWKWARD = {
    "EMPTY": "",
    "WORDS": " two  words ",
    "SIGNS": '"\'`$HOME $(id) \\ \\n \\" % ; # ! {} ~ *',
    "LINES": "a\nb\n\n",
    "ENDS": "\r\t",
    "LETTERS": "é 你好",
    "LD_PRELOAD": "/nowhere/evil.so",
    "IFS": "x",
}
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def process(layout: Layout, **variables: str) -> Process:
    user = f"{os.getuid()}:{os.getgid()}"
    made = Process("shop-web@1a", "web", (), "/", os.environ["PATH"], user, environment=variables)
    layout.base.mkdir(exist_ok=True)
    write_variables(layout, made)
    return made


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.of("shop", tmp_path, tmp_path / "run")


def test_each_variable_arrives_as_it_was_written(layout: Layout) -> None:
    made = process(layout, **AWKWARD)
    argv = entered(
        made,
        os.getpid(),
        [sys.executable, "-I", "-c", SHOW],
        layout.variables(made.unit),
        Surroundings(environment={"WORDS": "mine", "MORE": "x y"}),
    )
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert {name: seen[name] for name in AWKWARD} == {**AWKWARD, "WORDS": "mine"}
    assert set(seen) - set(AWKWARD) - {"LC_CTYPE", "PWD", "OLDPWD", "_"} == {"PATH", "MORE"}
    # The loader complains where it takes it: once for the command, and for the env before it.
    assert done.stderr.count("evil.so") <= 2, done.stderr


def test_no_argument_and_nobody_else_s_file_has_them(layout: Layout) -> None:
    made = process(layout, PASSWORD="geheim")
    file = layout.variables(made.unit)
    assert "geheim" not in " ".join(entered(made, 1, ["true"], file))
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_that_was_lost_is_made_anew(layout: Layout) -> None:
    made = process(layout, SHOP="open")
    file = layout.variables(made.unit)
    before = file.read_text()
    file.unlink()
    assert variables_of(layout, made) == file and file.read_text() == before


def test_the_command_has_no_handle_of_them(layout: Layout) -> None:
    made = process(layout, PASSWORD="geheim")
    command = [sys.executable, "-I", "-c", "import os; print(sorted(os.listdir('/proc/self/fd')))"]
    argv = entered(made, os.getpid(), command, layout.variables(made.unit))
    done = subprocess.run(
        argv, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    # The last one is that of the listing.
    assert done.stdout.strip() == "['0', '1', '2', '3']"


def test_a_command_that_is_not_there_is_named(layout: Layout) -> None:
    made = process(layout)
    argv = entered(made, os.getpid(), ["nonsense"], layout.variables(made.unit))
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 127 and "nonsense" in done.stderr
