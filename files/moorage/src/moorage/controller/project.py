"""The checkout that a run works from, and hashes of its parts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from moorage.compose.errors import ComposeError, Problem
from moorage.controller.roles import RELEASE_ROLE, ROLES, settings_of_role
from moorage.settings.run import Options
from moorage.settings.table import settings_of

# Groups and variables that Ansible or the playbooks have themselves; "ansible_" stands for all that
# begin so. A stack's name is a group, and with an underscore the beginning of its settings' names.
_TAKEN_GROUPS = ("all", "ungrouped")
_TAKEN_VARIABLES = (
    "ansible_", "environment", "group_names", "groups", "hostvars", "inventory_", "moorage_",
    "omit", "play_hosts", "playbook_dir", "role_name", "role_names", "role_path", "vars",
)  # fmt: skip
# Directories below /opt that are somebody else's: Debian's engine makes this one.
_TAKEN_DIRECTORIES = ("containerd",)
_IGNORED_DIRECTORIES = {"__pycache__", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
# The parts of the distribution that a host runs; the rest reads Compose files on the controller
# or is built into images.
_RUNTIME = ("process_supervisor", "moorage")
_CONTROLLER_ONLY = {"adopt", "application", "compose", "render", "controller", "panel"}


@dataclass(frozen=True)
class Project:
    """A checkout of Moorage.

    ``stacks_dirs`` are directories that hold stacks besides its own files/stacks.
    """

    root: Path
    stacks_dirs: tuple[Path, ...] = ()

    @property
    def files(self) -> Path:
        """Payloads: stacks, images, our own Python."""
        return self.root / "files"

    @property
    def sources(self) -> Path:
        """Our own Python packages."""
        return self.files / "moorage" / "src"

    def stack_directory(self, name: str) -> Path:
        """Where the description of a stack lives; for an unknown one, where it would."""
        return self._described().get(name, self.files / "stacks" / name)

    def stacks(self) -> list[str]:
        """Return the names of all stacks, sorted.

        Raises ComposeError for a directory that is not there and for a name that is there twice.
        """
        return sorted(self._described())

    def _described(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for directory in (self.files / "stacks", *self.stacks_dirs):
            if not directory.is_dir():
                raise ComposeError(
                    [Problem("moorage_stacks_dirs", "is not a directory", value=str(directory))]
                )
            for path in directory.iterdir():
                if not any(path.glob("*compose.y*ml")):
                    continue
                self._refuse_reserved(path.name, directory, found)
                other = found.setdefault(path.name, path)
                if other != path:
                    message = f"the stack {path.name} is in {other.parent} and in {directory}"
                    raise ComposeError(
                        [Problem("moorage_stacks_dirs", message, "give one of them another name")]
                    )
        return found

    def _refuse_reserved(self, name: str, directory: Path, found: Iterable[str]) -> None:
        """Raise ComposeError for a stack whose name means something else already."""
        start = re.sub(r"\W", "_", name) + "_"
        same = next((n for n in found if n != name and re.sub(r"\W", "_", n) + "_" == start), None)
        variable = next(
            (
                v
                for v in _taken_variables(self.root)
                if v.startswith(start) or (v.endswith("_") and start.startswith(v))
            ),
            None,
        )
        if name in _TAKEN_GROUPS:
            reason = "is a group that every inventory has"
        elif name in _TAKEN_DIRECTORIES:
            reason = f"has its directory below /opt: /opt/{name}"
        elif start.removesuffix("_") in (*ROLES, RELEASE_ROLE):
            reason = "is a role of Moorage, whose settings begin so"
        elif variable:
            reason = f"would own the variable {variable.removesuffix('_')}"
            reason += "_…" if variable.endswith("_") else ""
        elif same:
            reason = f"and the stack {same} would share their settings ({start}…)"
        else:
            return
        message = f"the name {name} is reserved: {name} {reason}"
        raise ComposeError([Problem(str(directory / name), message, "give the stack another name")])

    def provisioning_settings(self) -> frozenset[str]:
        """Return the names of all settings of the roles that provision a host."""
        return _provisioning_settings(self.root)

    def runtime_files(self) -> dict[str, Path]:
        """Return what the host's package consists of, by its path in the package."""
        found = {}
        for package in _RUNTIME:
            for path in tree(self.sources / package):
                relative = path.relative_to(self.sources)
                if relative.parts[1] not in _CONTROLLER_ONLY:
                    found[relative.as_posix()] = path
        return found


@cache
def _provisioning_settings(root: Path) -> frozenset[str]:
    return frozenset(name for role in ROLES for name in settings_of_role(root, role))


@cache
def _taken_variables(root: Path) -> list[str]:
    return sorted({*_TAKEN_VARIABLES, *settings_of(Options), *_provisioning_settings(root)})


def tree(directory: Path) -> list[Path]:
    """Return all files below ``directory``, sorted, without what tools leave behind."""
    found = []
    for where, below, names in directory.walk():
        below[:] = [name for name in below if name not in _IGNORED_DIRECTORIES]
        found += [path for name in names if (path := where / name).is_file()]
    return sorted(found)


def hash_files(files: Iterable[tuple[str, Path]]) -> str:
    """Return the SHA-256 (hex) of names, contents and executable bits."""
    digest = hashlib.sha256()
    for name, path in files:
        executable = bool(path.stat().st_mode & 0o100)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{name}\0{executable}\0{content}\n".encode())
    return digest.hexdigest()
