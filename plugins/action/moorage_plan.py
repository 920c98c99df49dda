"""Action plugin: work out on the controller what a host should become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from moorage.compose.errors import ComposeError
from moorage.controller.plan import plan_host
from moorage.controller.project import Project
from moorage.controller.settings import prefix
from moorage.images import ImageError

# The playbook fills these in from the plan itself.
_FROM_PLAN = {"storage_directories", "logrotate_stacks"}


class ActionModule(ActionBase):
    """Reads descriptions and variables; touches no host."""

    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the plan as the result of the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        known = task_vars or {}
        stacks_dirs = self._templar.template(known.get("moorage_stacks_dirs") or [])
        project = Project(
            Path(__file__).resolve().parents[2], tuple(Path(str(path)) for path in stacks_dirs)
        )
        try:
            variables = self._variables(project, known)
            plan = plan_host(project, known["group_names"], variables)
        except (ComposeError, ImageError) as error:
            # Plain text and one report for everything that is wrong.
            raise AnsibleError(f"{known['inventory_hostname']}: {error}") from None
        return {**result, "changed": False, **plan}

    def _variables(self, project: Project, known: dict[str, Any]) -> dict[str, Any]:
        starts = tuple(f"{prefix(name)}_" for name in project.stacks())
        settings = project.provisioning_settings() - _FROM_PLAN
        return {
            name: self._templar.template(value)
            for name, value in known.items()
            if name.startswith(starts) or name in settings
        }
