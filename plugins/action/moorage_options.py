"""Action plugin: refuse what an operator gives a playbook and it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

from moorage.compose.errors import ComposeError
from moorage.controller.options import OptionError, check
from moorage.controller.project import Project
from moorage.controller.settings import gather, variables_named
from moorage.settings.stack import Settings

_READ = {"batch", "gate_timeout_seconds", "keep_releases", "start_timeout_seconds"}


class ActionModule(ActionBase):
    """Looks at the command line; touches no host."""

    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return nothing but that all is well."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        known = task_vars or {}
        self.validate_argument_spec(argument_spec={})
        dirs = self._templar.template(known.get("moorage_stacks_dirs") or [])
        project = Project(Path(__file__).resolve().parents[2], tuple(Path(str(d)) for d in dirs))
        stack = known.get("stack")
        declared = self._templar.template(known["moorage_options"])
        try:
            check(project, declared, load_extra_vars(self._loader), known)
            if stack in project.stacks():
                # Of those that a playbook without a plan reads, too, a wrong one is named.
                given = gather(stack, known, project.stacks())
                with variables_named(stack):
                    read = {key: given[key] for key in _READ & given.keys()}
                    Settings.parse(self._templar.template(read), stack)
        except (ComposeError, OptionError) as error:
            raise AnsibleActionFail(str(error)) from None
        return {**result, "changed": False}
