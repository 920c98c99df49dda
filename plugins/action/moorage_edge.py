"""Action plugin: read the operator's certificates on the controller, for the edge of a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Puts files' texts where their paths stand; plugins/modules/moorage_edge.py documents it."""

    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run the module with the texts."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = dict(self._task.args)
        args["certificates"] = [
            {**entry, **{part: self._text(part, entry[part]) for part in ("certificate", "key")}}
            for entry in args.get("certificates") or []
        ]
        done: dict[str, Any] = self._execute_module(
            module_name="moorage_edge", module_args=args, task_vars=task_vars
        )
        return {**result, **done}

    def _text(self, part: str, path: str) -> str:
        try:
            # Decrypts what Ansible Vault has encrypted.
            return Path(self._loader.get_real_file(path)).read_text(encoding="utf-8")
        except (AnsibleError, OSError, ValueError) as error:
            raise AnsibleActionFail(
                f"edge_certificates: the {part} {path} cannot be read on this machine: {error}"
            ) from error
