"""The edge's files on a host: settings, facts and pools of stacks, generations of nginx's."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moorage.common.files import discard, lead, put_aside, write_atomically
from moorage.common.lock import exclusive
from moorage.common.readers import Damaged, read_bytes, read_object
from moorage.common.shape import read_shaped
from moorage.edge.errors import EdgeError
from moorage.edge.model import Facts, Settings, host_settings
from moorage.release.names import MANIFEST

_MEND = "remove it and deploy its stack again"


@dataclass(frozen=True)
class _Pools:
    """What is kept of a stack's pools, as edge.lua reads it."""

    pools: Mapping[str, list[str]]
    hold_seconds: Mapping[str, float] = field(default_factory=dict)
    maintenance: bool = False


@dataclass(frozen=True)
class Store:
    """What lies below the edge's directory, and the sockets below ``run``."""

    base: Path
    run: Path

    @property
    def settings_file(self) -> Path:
        """Settings of the host: whether the edge is provisioned, and how."""
        return self.base / "settings.json"

    @property
    def socket(self) -> Path:
        """Where nginx's workers answer questions."""
        return self.run / "control.sock"

    @property
    def conf(self) -> Path:
        """A link to the generation of nginx's files that is in force."""
        return self.base / "conf"

    @property
    def tls(self) -> Path:
        """Certificates and keys, for root alone."""
        return self.base / "tls"

    def settings(self) -> Settings:
        """Return the host's settings; EdgeError when there are none."""
        try:
            raw = read_shaped(self.settings_file, Settings)
        except Damaged as damage:
            raise EdgeError(f"{damage}. Run playbooks/provision.yml: it writes it anew") from None
        if raw is None:
            raise EdgeError("this host has no edge: set edge_kind and run playbooks/provision.yml")
        return host_settings(raw)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other change of the edge away."""
        with exclusive(self.base / ".lock"):
            yield

    def facts_file(self, stack: str) -> Path:
        """Return where the facts of a stack are kept."""
        return self.base / "stacks" / f"{stack}.json"

    def facts(self, stack: str) -> dict[str, Any] | None:
        """Return the facts of a stack as they were given, None when there are none.

        In place of a damaged file stands what the stack's current release says.
        """
        try:
            return self._sound_facts(stack)
        except EdgeError:
            return self._facts_of_release(stack)

    def _sound_facts(self, stack: str) -> dict[str, Any] | None:
        path = self.facts_file(stack)
        found = _read(path)
        try:
            Facts.parse(stack, found or {})
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise _damaged(path, repr(error)) from error
        return found

    def _facts_of_release(self, stack: str) -> dict[str, Any] | None:
        path = self.base.parent.parent / stack / "current" / MANIFEST
        try:
            found = (_read(path) or {}).get("edge")
            Facts.parse(stack, found or {})
        except (EdgeError, TypeError, KeyError, AttributeError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def damage(self) -> list[str]:
        """Return what is wrong with the files of stacks, in words."""
        found = []
        for path in sorted((self.base / "stacks").glob("*.json")):
            try:
                self._sound_facts(path.stem)
            except EdgeError as error:
                found.append(str(error))
        return found + [
            str(_damaged(path, "no pools as they are written here"))
            for path in sorted((self.base / "pools").glob("*.json"))
            if _sound_pools(path) is None
        ]

    def all_facts(self) -> list[Facts]:
        """Return the facts of every stack, by name, without those that nobody can tell any more."""
        names = sorted(path.stem for path in (self.base / "stacks").glob("*.json"))
        known = ((name, self.facts(name)) for name in names)
        return [Facts.parse(name, facts) for name, facts in known if facts is not None]

    def put_facts(self, stack: str, facts: Mapping[str, Any] | None) -> None:
        """Keep the facts of a stack; None removes them."""
        self._put(self.facts_file(stack), facts)

    def pools(self, stack: str) -> dict[str, Any]:
        """Return the state of a stack's pools: `pools`, `hold_seconds`, `maintenance`."""
        copies = (_sound_pools(path) for path in self._pools_files(stack))
        found = next((copy for copy in copies if copy is not None), {})
        return {"pools": {}, "hold_seconds": {}, "maintenance": False, **found}

    def put_pools(self, stack: str, state: Mapping[str, Any] | None) -> None:
        """Keep the state of a stack's pools; None removes it."""
        for path in self._pools_files(stack):
            self._put(path, state)

    def _pools_files(self, stack: str) -> tuple[Path, Path]:
        """Return the file and its copy: only these tell who serves after a boot."""
        return self.base / "pools" / f"{stack}.json", self.base / "pools" / f"{stack}.copy"

    def _put(self, path: Path, content: Mapping[str, Any] | None) -> None:
        if content is None:
            discard(path)
            return
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomically(path, json.dumps(content, indent=1, sort_keys=True) + "\n")

    def in_force(self) -> str:
        """Return the name of the generation that ``conf`` leads to, "" when there is none."""
        try:
            return os.readlink(self.conf).rpartition("/")[2]
        except OSError:
            return ""

    def generation(self, name: str) -> Path:
        """Return the directory of a generation."""
        return self.base / "generations" / name

    def stage(self, name: str, files: Mapping[str, str]) -> Path:
        """Write a generation beside the others, whole or not at all, and return its directory."""
        directory = self.generation(name)
        directory.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".new.", dir=directory.parent))
        try:
            scratch.chmod(0o755)
            for file, content in files.items():
                write_atomically(scratch / file, content)
            # One that a power cut left half written, or that somebody changed, is made anew.
            shutil.rmtree(directory, ignore_errors=True)
            put_aside(directory)
            scratch.rename(directory)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return directory

    def is_whole(self, name: str, files: Mapping[str, str]) -> bool:
        """Tell whether the generation lies there as it was rendered."""
        directory = self.generation(name)
        try:
            return all(
                read_bytes(directory / file) == text.encode() for file, text in files.items()
            )
        except Damaged:
            return False

    def enforce(self, name: str) -> None:
        """Lead ``conf`` to a generation, in one step."""
        lead(self.conf, f"generations/{name}")

    def sweep(self, *keep: str) -> None:
        """Remove the generations that are not named."""
        for path in (self.base / "generations").glob("*"):
            if path.name not in keep:
                shutil.rmtree(path, ignore_errors=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_object(path)
    except Damaged as damage:
        raise EdgeError(f"{damage}: {_MEND}") from None


def _damaged(path: Path, why: str) -> EdgeError:
    return EdgeError(f"{path} is damaged ({why}): {_MEND}")


def _sound_pools(path: Path) -> dict[str, Any] | None:
    """Return the state of pools in a file, None where there is none, as edge.lua reads it."""
    try:
        return read_shaped(path, _Pools)
    except Damaged:
        return None
