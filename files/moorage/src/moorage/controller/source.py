"""A stack as a version of its repository describes it, instead of the working tree."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from moorage.common.lock import exclusive
from moorage.controller.project import Project

_TAGS_SHOWN = 5
# What a stack's Dockerfiles may take from beside it, by relative paths such as ../../moorage.
_BESIDE = ("moorage", "images")


class SourceError(Exception):
    """There is no such version; the message says what there is."""


@dataclass(frozen=True)
class VersionedProject(Project):
    """A checkout in which some stacks come from another place: ``trees``, by their names."""

    trees: dict[str, Path] = field(default_factory=dict)

    def stack_directory(self, name: str) -> Path:
        """Where the description of a stack lives."""
        return self.trees.get(name) or super().stack_directory(name)


def at_version(project: Project, stack: str, version: str) -> VersionedProject:
    """Return the project with ``stack`` as ``version`` of its repository has it.

    The tree is kept below ``.state/versions`` by its commit. Raises SourceError when the stack is
    in no repository, the version is unknown, or the stack is not in it.
    """
    directory = project.stack_directory(stack).resolve()
    top = _toplevel(directory, stack)
    commit = _resolve(top, version, stack)
    tree = _tree(project, top, commit)
    found = tree / directory.relative_to(top) if _inside(directory, top) else tree
    if not any(found.glob("*compose.y*ml")):
        raise SourceError(f"version {version} ({commit[:12]}) of {top} has no stack {stack}")
    return VersionedProject(project.root, project.stacks_dirs, {stack: found})


def _inside(directory: Path, top: Path) -> bool:
    return directory.is_relative_to(top)


def _git(top: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "-C", str(top), *argv],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
        timeout=120,
    )


def _environment() -> dict[str, str]:
    # Settings of a caller that runs inside a hook would lead git to another repository.
    return {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}


def _toplevel(directory: Path, stack: str) -> Path:
    try:
        done = _git(directory, "rev-parse", "--show-toplevel")
    except FileNotFoundError:
        raise SourceError(
            "versions of a stack are read with git, which is not installed here: install it, or "
            "leave out `-e version=` to update to the working tree"
        ) from None
    if done.returncode != 0:
        raise SourceError(
            f"the directory of {stack} ({directory}) is in no git repository, so it has no "
            f"versions: leave out `-e version=` to update to what is in it now"
        )
    return Path(done.stdout.strip()).resolve()


def _resolve(top: Path, version: str, stack: str) -> str:
    if re.fullmatch(r"[\w./+@^~-]+", version) and not version.startswith("-"):
        # Someone who has fetched and not merged means what the others have.
        for name in (version, f"origin/{version}"):
            done = _git(top, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
            if done.returncode == 0:
                return done.stdout.strip()
    raise SourceError(
        f"the repository of {stack} ({top}) has no tag, branch or commit {version!r}: "
        f"{_known(top, version)}. Is it fetched? `git fetch --tags`"
    )


def _known(top: Path, version: str) -> str:
    names = _git(
        top,
        "for-each-ref",
        "--sort=-creatordate",
        "--format=%(refname:short)",
        "refs/tags",
        "refs/heads",
    ).stdout.split()
    close = difflib.get_close_matches(version, names, n=_TAGS_SHOWN, cutoff=0.4)
    if close:
        return f"close to it: {', '.join(close)}"
    return f"it has: {', '.join(names[:_TAGS_SHOWN]) or 'no tag and no branch'}"


def _tree(project: Project, top: Path, commit: str) -> Path:
    """Return the directory that holds the tree of ``commit``; made once."""
    cache = project.root / ".state" / "versions" / commit
    inner = (
        top.relative_to(project.root) if _inside(top, project.root) else Path("files/stacks/stack")
    )
    cache.parent.mkdir(parents=True, exist_ok=True)
    # Hosts are planned side by side, and all of them want the same tree.
    with exclusive(cache.parent / ".lock"):
        if not cache.is_dir():
            scratch = Path(tempfile.mkdtemp(prefix=f".{commit}.", dir=cache.parent))
            try:
                _extract(top, commit, scratch / inner)
                _link_siblings(project, scratch)
                scratch.chmod(0o755)
                scratch.rename(cache)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return cache / inner


def _extract(top: Path, commit: str, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as archive:
        argv: Sequence[str] = ["git", "-C", str(top), "archive", "--format=tar", commit]
        done = subprocess.run(
            argv,
            stdout=archive,
            stderr=subprocess.PIPE,
            check=False,
            env=_environment(),
            timeout=300,
        )
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise SourceError(f"`{' '.join(argv)}` failed: {said}")
        archive.seek(0)
        with tarfile.open(fileobj=archive) as source:
            source.extractall(target, filter="data")


def _link_siblings(project: Project, tree: Path) -> None:
    """Give a stack that is a repository of its own what lies beside it in the checkout."""
    (tree / "files").mkdir(exist_ok=True)
    for name in _BESIDE:
        if not (tree / "files" / name).exists():
            (tree / "files" / name).symlink_to(project.files / name)
