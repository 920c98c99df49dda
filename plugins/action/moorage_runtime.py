"""Action plugin: ship Moorage's own package to a host that has another version of it."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from moorage.controller.project import Project, hash_files


class ActionModule(ActionBase):
    """Asks the host for its version first; packs and transfers only when that differs."""

    TRANSFERS_FILES = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run the module once, and a second time with the archive where it is wanted."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        files = Project(Path(__file__).resolve().parents[2]).runtime_files()
        version = hash_files(sorted(files.items()))
        args = {**self._task.args, "version": version}
        asked = self._execute(args, task_vars)
        if asked.get("failed") or not asked.get("wanted") or self._task.check_mode:
            return {**result, **asked}
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / "moorage.tar.gz"
            archive.write_bytes(pack(files))
            directory = self._make_tmp_path()
            remote = self._connection._shell.join_path(directory, archive.name)
            self._transfer_file(str(archive), remote)
        try:
            return {**result, **self._execute({**args, "archive": remote}, task_vars)}
        finally:
            self._remove_tmp_path(directory)

    def _execute(self, args: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        done: dict[str, Any] = self._execute_module(
            module_name="moorage_runtime", module_args=args, task_vars=task_vars
        )
        return done


def pack(files: dict[str, Path]) -> bytes:
    """Return the files as a compressed archive that is the same for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        for name, path in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            content = path.read_bytes()
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
