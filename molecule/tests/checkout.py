"""A checkout of an operator's own, in which the stack's source is a repository with versions."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from application import APPLICATION
from playbook import ROOT

_PARTS = ("ansible.cfg", "site.yml", "playbooks", "group_vars", "roles", "plugins", "files")
_LEFT_BEHIND = ("__pycache__", "node_modules", ".mypy_cache", ".ruff_cache", ".pytest_cache")
_TITLE = "  <title>"


@dataclass(frozen=True)
class Checkout:
    """A copy of this checkout; its stack ``stack`` has the versions that were asked for."""

    root: Path
    stack: str

    @classmethod
    def make(cls, root: Path, stack: str) -> Checkout:
        """Copy everything that playbooks need, and begin the stack's own history."""
        root.mkdir(parents=True, exist_ok=True)
        for name in _PARTS:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(
                    source,
                    root / name,
                    symlinks=True,
                    ignore=shutil.ignore_patterns(*_LEFT_BEHIND),
                )
            else:
                shutil.copy2(source, root / name)
        made = cls(root, stack)
        made._git("init", "--quiet")
        made._commit("what runs")
        return made

    @property
    def source(self) -> Path:
        """The stack's directory."""
        return self.root / "files/stacks" / self.stack

    def release(self, version: str) -> None:
        """Make a version whose pages say which one they are of."""
        template = self.source / APPLICATION.PAGES
        lines = template.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if 'name="build"' not in line]
        at = next(n for n, line in enumerate(kept) if line.startswith(_TITLE))
        kept.insert(at, f'  <meta name="build" content="{version}">\n')
        template.write_text("".join(kept), encoding="utf-8")
        self._commit(version)
        self._git("tag", version)

    def _commit(self, what: str) -> None:
        self._git("add", "--all", "--force")
        self._git("commit", "--quiet", "--message", what)

    def _git(self, *argv: str) -> None:
        nobody = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", "Operator"), ("EMAIL", "operator@example.com"))
        }
        own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        subprocess.run(["git", *argv], cwd=self.source, env={**own, **nobody}, check=True)
