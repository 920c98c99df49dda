"""The library as others get it: the wheel by itself, on each Python that it says it runs on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
PACKAGE = ROOT / "files" / "moorage"
VERSIONS = ("3.11", "3.12", "3.13")
# What a program sees of the types.
TYPED = """
from process_supervisor import ProcessConfig, get_supervisor
from process_supervisor.client import Client

pid: int = Client("/x").status("web")["pid"]
done: bool = get_supervisor([ProcessConfig("web", ["true"])]).start_process("web", timeout=5)
wrong: str = get_supervisor().start_process("web")
"""


def example(begins: str) -> str:
    """Return the first example of docs/supervisor.md that begins so."""
    text = (ROOT / "docs/supervisor.md").read_text(encoding="utf-8")
    blocks: list[str] = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    return next(block for block in blocks if block.startswith(begins))


def python(version: str) -> str | None:
    """Return a Python of this machine that is really of this version."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = sys.executable if version == own else shutil.which(f"python{version}")
    says = "import sys; print('%d.%d' % sys.version_info[:2])"
    if found is None:
        return None
    # A shim of a version manager is there for versions that are not.
    done = subprocess.run([found, "-c", says], capture_output=True, text=True, check=False)
    return found if done.stdout.strip() == version else None


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel puts among a Python's packages; it wants nothing but itself."""
    where = tmp_path_factory.mktemp("library")
    source = where / "source"
    shutil.copytree(PACKAGE / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PACKAGE / "pyproject.toml", source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    env = {**os.environ, "PIP_CONSTRAINT": ""}
    subprocess.run([*pip, "wheel", "--wheel-dir", where, source], check=True, env=env)
    wheels = list(where.glob("*.whl"))
    assert len(wheels) == 1, "it has no dependency"
    shutil.unpack_archive(wheels[0], where / "packages", "zip")
    return where / "packages"


@pytest.mark.parametrize("version", [version for version in VERSIONS if python(version)])
def test_the_example_of_the_documents_runs(version: str, installed: Path, tmp_path: Path) -> None:
    interpreter = python(version)
    assert interpreter is not None

    def run(program: str) -> subprocess.CompletedProcess[str]:
        # Isolated: nothing of this checkout, no package of anybody else.
        program = f"import sys; sys.path.insert(0, {str(installed)!r})\n{program}"
        argv = [interpreter, "-I", "-S", "-c", program]
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)

    (tmp_path / "app.py").write_text("import time\ntime.sleep(1000)\n")
    program = example("from process_supervisor import ProcessConfig")
    assert program.endswith("supervisor.shutdown()\n") and '"python3"' in program
    look = "print(supervisor.get_process_status('main_app')['status'])\nsupervisor.shutdown()"
    program = program.replace("supervisor.shutdown()", look)
    done = run(program.replace('"python3"', repr(sys.executable)))
    assert (done.stdout, done.stderr, done.returncode) == ("running\n", "", 0)
    done = run("from process_supervisor.cli.main import main; sys.exit(main(['--help']))")
    assert done.stdout.startswith("usage: process_supervisor"), done.stderr


def test_who_uses_it_gets_types(installed: Path, tmp_path: Path) -> None:
    assert (installed / "process_supervisor" / "py.typed").exists()
    program = tmp_path / "program.py"
    program.write_text(TYPED)
    argv = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        f"{tmp_path}/cache",
        f"{program}",
    ]
    # Found by a path in site-packages, to which the same rule applies as to what pip puts there.
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.count("error:") == 1, done.stdout
    assert 'variable has type "str"' in done.stdout
