"""Action plugin: take a host's recovery kit to the controller, encrypted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, is_encrypted
from ansible.plugins.action import ActionBase

from moorage.common.files import write_atomically
from moorage.controller.recovery import QUESTION, KitError, kit_of

_NO_VAULT = (
    "no recovery kit was written, since nothing would encrypt it: say --ask-vault-pass or "
    "--vault-password-file FILE, or set vault_password_file in ansible.cfg. Without a kit these "
    "backups are lost with their host"
)
_OPTIONS = {"dest": {"type": "str", "required": True}}


class ActionModule(ActionBase):
    """Asks the host once, and writes a file of the controller's."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return where the kit is, or what stands in its way; never what is in it.

        The task is to say `no_log`, which hides messages of failures as well: so it does not fail.
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        known = task_vars or {}
        _, options = self.validate_argument_spec(argument_spec=_OPTIONS)
        path = Path(__file__).resolve().parents[2] / os.path.expanduser(options["dest"])
        result |= {"changed": False, "path": str(path), "trouble": ""}
        vault = self._loader._vault
        if not vault.secrets:
            return {**result, "trouble": _NO_VAULT}
        answer = self._low_level_execute_command(QUESTION)
        try:
            kit = kit_of(str(known["inventory_hostname"]), str(answer.get("stdout", "")))
            if kit != self._written(path, vault):
                result["changed"] = True
                if not known["ansible_check_mode"]:
                    text = yaml.safe_dump(kit, sort_keys=False, allow_unicode=True)
                    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    write_atomically(path, vault.encrypt(text), mode=0o600)
        except (KitError, OSError) as error:
            return {**result, "changed": False, "trouble": f"no recovery kit was written: {error}"}
        return result

    @staticmethod
    def _written(path: Path, vault: VaultLib) -> Any:
        """Return the kit that is there; KitError where it is not one of this vault's."""
        if not path.exists():
            return None
        there = path.read_bytes()
        try:
            return yaml.safe_load(vault.decrypt(there)) if is_encrypted(there) else None
        except (AnsibleError, yaml.YAMLError):
            raise KitError(
                f"{path} is there, and encrypted with another password: give that one as well "
                "(--vault-id), or move the file away"
            ) from None
