"""The checkout that a run works from, and hashes of its parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moorage.compose.errors import ComposeError, Problem

PROVISION_ROLES = ("host", "docker", "runtime", "storage", "logrotate", "images", "edge")
_IGNORED_DIRECTORIES = {"__pycache__", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
# The parts of the distribution that a host runs; the rest reads Compose files on the controller
# or is built into images.
_RUNTIME = ("process_supervisor", "moorage")
_CONTROLLER_ONLY = {"compose", "render", "controller", "panel"}


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
                other = found.setdefault(path.name, path)
                if other != path:
                    message = f"the stack {path.name} is in {other.parent} and in {directory}"
                    raise ComposeError(
                        [Problem("moorage_stacks_dirs", message, "give one of them another name")]
                    )
        return found

    def provisioning_settings(self) -> set[str]:
        """Return the names of all settings of the roles that provision a host."""
        names: set[str] = set()
        for role in PROVISION_ROLES:
            defaults = self.root / "roles" / role / "defaults" / "main.yml"
            names.update(yaml.safe_load(defaults.read_text()) or {})
        return names

    def role_settings(self, role: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a role for a host: its variables before the role's defaults."""
        file = self.root / "roles" / role / "defaults" / "main.yml"
        own = (yaml.safe_load(file.read_text()) if file.is_file() else None) or {}
        return {name: variables.get(name, value) for name, value in own.items()}

    def runtime_files(self) -> dict[str, Path]:
        """Return what the host's package consists of, by its path in the package."""
        found = {}
        for package in _RUNTIME:
            for path in tree(self.sources / package):
                relative = path.relative_to(self.sources)
                if relative.parts[1] not in _CONTROLLER_ONLY:
                    found[relative.as_posix()] = path
        return found


def tree(directory: Path) -> list[Path]:
    """Return all files below ``directory``, sorted, without what tools leave behind."""
    return sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and not _IGNORED_DIRECTORIES.intersection(path.parts)
    )


def hash_files(files: Iterable[tuple[str, Path]]) -> str:
    """Return the SHA-256 (hex) of names, contents and executable bits."""
    digest = hashlib.sha256()
    for name, path in files:
        executable = bool(path.stat().st_mode & 0o100)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{name}\0{executable}\0{content}\n".encode())
    return digest.hexdigest()
