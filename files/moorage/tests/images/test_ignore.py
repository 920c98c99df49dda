"""Our reading of .dockerignore beside the builder's own."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from moorage.images import ImageError
from moorage.images.context import rules_of, scan
from moorage.images.ignore import IgnoreRules

TREE = (
    "Dockerfile",
    "README.md",
    "a/README.md",
    "a/b/README.md",
    "a/b/c.txt",
    "a/b/d.tmp",
    "docs/guide.md",
    "docs/keep.md",
    "node/a.log",
    "node/deep/a.log",
    "src/app.py",
    "src/#odd",
    "src/with space.txt",
    "temp1/x",
    "temp12/x",
    "x[1].txt",
    "x1.txt",
)

CASES = {
    "nothing": "",
    "comment and blank lines": "# README.md\n\n   \n",
    "plain file": "README.md\n",
    "directory": "docs\n",
    "directory with slashes": "/docs/\n",
    "star does not cross": "*.md\n",
    "star below": "*/*.md\n",
    "two stars": "**/*.md\n",
    "two stars at the end": "a/**\n",
    "two stars between": "a/**/README.md\n",
    "question mark": "temp?\n",
    "class": "x[0-9].txt\n",
    "escaped": "x\\[1\\].txt\n",
    "negation": "*.md\n!README.md\n",
    "negation below an excluded directory": "docs\n!docs/keep.md\n",
    "last line wins": "docs\n!docs/keep.md\ndocs/*.md\n",
    "negated directory": "a\n!a/b\n",
    "everything but": "*\n!src\n",
    "everything but, with stars": "**\n!src/**\n!Dockerfile\n",
    "hash inside": "src/#odd\n",
    "surrounding space": "  docs  \n",
    "dots": "./src/../docs/.\n",
    "space within": "src/with space.txt\n",
    "byte order mark": "\ufeffdocs\n",
    "own files": "Dockerfile\n.dockerignore\n",
}


def lay_out(root: Path, ignore: str) -> None:
    for name in TREE:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (root / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (root / ".dockerignore").write_text(ignore)


def built(root: Path) -> set[str]:
    """Return the files that the real builder copies."""
    argv = ["docker", "buildx", "build", "--builder", "default", "--quiet"]
    argv += ["--output", "type=tar,dest=-", str(root)]
    done = subprocess.run(argv, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        return {member.name.removeprefix("./") for member in archive if member.isfile()}


@pytest.mark.parametrize("case", CASES)
def test_the_builder_copies_the_same_files(case: str, tmp_path: Path) -> None:
    lay_out(tmp_path, CASES[case])

    ours = {entry.path for entry in scan(tmp_path, rules_of(tmp_path))}

    assert ours == built(tmp_path)


def test_a_file_named_after_the_dockerfile_comes_first(tmp_path: Path) -> None:
    lay_out(tmp_path, "src\n")
    (tmp_path / "Dockerfile.dockerignore").write_text("docs\n")

    ours = {entry.path for entry in scan(tmp_path, rules_of(tmp_path, tmp_path / "Dockerfile"))}

    assert ours == built(tmp_path)
    assert "src/app.py" in ours


@pytest.mark.parametrize(
    "leftover",
    ["src/__pycache__/app.cpython-313.pyc", "app.pyc", ".git/config", "a/x.egg-info/PKG-INFO"],
)
def test_leftovers_of_tools_are_left_out_even_when_asked_for(leftover: str) -> None:
    assert IgnoreRules.parse(f"!{leftover}\n!**").excludes(leftover)


@pytest.mark.parametrize("line", ["!", "  !  ", "[a"])
def test_a_malformed_line_is_an_error_that_names_the_file(line: str, tmp_path: Path) -> None:
    lay_out(tmp_path, line)

    with pytest.raises(ImageError, match="dockerignore"):
        rules_of(tmp_path)
