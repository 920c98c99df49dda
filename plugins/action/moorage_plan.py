"""Action plugin: work out on the controller what a host should become."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

from moorage.compose.errors import ComposeError
from moorage.controller.options import ALL, GLOBAL, OptionError, check, slips
from moorage.controller.plan import plan_host
from moorage.controller.project import Project
from moorage.controller.roles import FROM_PLAN
from moorage.controller.settings import gather, prefix
from moorage.controller.source import SourceError, at_version
from moorage.controller.users import question, users_of
from moorage.images import ImageError

_OPTIONS = {
    "stack": {"type": "str", "default": ""},
    "version": {"type": "str", "default": ""},
    "service": {"type": "str", "default": ""},
    "replicas": {"type": "str", "default": ""},
}


class ActionModule(ActionBase):
    """Reads descriptions and variables; asks a host for nothing but the users of its stacks."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the plan as the result of the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        known = task_vars or {}
        _, options = self.validate_argument_spec(argument_spec=_OPTIONS)
        stacks_dirs = self._templar.template(known.get("moorage_stacks_dirs") or [])
        project = Project(
            Path(__file__).resolve().parents[2], tuple(Path(str(path)) for path in stacks_dirs)
        )
        try:
            declared = self._templar.template(known.get("moorage_options") or {})
            # What is wrong with settings of stacks is named by planning, all of it at once.
            planned = {options["stack"]} - {"", ALL} or {*known["group_names"]}
            check(project, declared, load_extra_vars(self._loader), known, planned)
            groups = self._groups(project, options["stack"], known)
            variables = self._variables(project, known)
            if options["version"]:
                stack = self._versioned(project, options["stack"], groups)
                variables[f"{prefix(stack)}_version"] = options["version"]
                project = at_version(project, stack, options["version"])
            if options["replicas"]:
                name = f"{prefix(options['stack'])}_replicas"
                number = {options["service"]: options["replicas"]}
                variables[name] = {**(variables.get(name) or {}), **number}
            variables |= self._users(project, groups, variables, known)
            wrong = slips(project, known)
            plan = plan_host(project, groups, variables, known["group_names"], wrong)
        except (ComposeError, ImageError, OptionError, SourceError) as error:
            # Plain text and one report for everything that is wrong.
            raise AnsibleError(f"{known['inventory_hostname']}: {error}") from None
        for stack_plan in plan["stacks"]:
            self._require_service(stack_plan, options["service"])
            stack_plan["scaling"] = bool(options["replicas"])
        if options["service"]:
            # Nothing else of the stack changes.
            for entry in plan["survey_stacks"]:
                entry["claims"] = [
                    claim for claim in entry["claims"] if claim["service"] == options["service"]
                ]
        return {**result, "changed": False, **plan}

    def _users(
        self,
        project: Project,
        groups: list[str],
        variables: Mapping[str, Any],
        known: Mapping[str, Any],
    ) -> dict[str, str]:
        """Return the settings of stacks that name no user; every stack has a number of its own."""
        every = project.stacks()
        here = [name for name in every if name in known["group_names"]]
        given = {name: gather(name, variables, every) for name in here}
        named = {name: found["user"] for name, found in given.items() if "user" in found}
        stacks = [name for name in here if name not in named]
        if not {*stacks} & {*groups}:
            return {}
        answer = self._low_level_execute_command(question(stacks))
        if answer.get("rc") != 0:
            raise AnsibleActionFail(
                f"cannot ask whose the stacks below /opt are: {answer.get('stderr') or answer}"
            )
        users = users_of(stacks, str(answer.get("stdout", "")), named)
        return {f"{prefix(name)}_user": user for name, user in users.items() if name in groups}

    def _groups(self, project: Project, stack: str, known: Mapping[str, Any]) -> list[str]:
        """Return the groups whose stacks are planned: all of the host's, or the one asked for."""
        if stack in ("", ALL):
            return list(known["group_names"])
        stacks = project.stacks()
        if stack not in stacks:
            close = difflib.get_close_matches(stack, stacks, n=1)
            advice = f"did you mean {close[0]!r}? " if close else ""
            raise AnsibleActionFail(
                f"this checkout has no stack {stack!r}: {advice}it has {', '.join(stacks)}"
            )
        if not known["groups"].get(stack):
            raise AnsibleActionFail(f"no host of the inventory is in the group {stack!r}")
        return [name for name in known["group_names"] if name == stack]

    @staticmethod
    def _versioned(project: Project, stack: str, groups: list[str]) -> str:
        stacks = [stack] if stack else [name for name in project.stacks() if name in groups]
        if len(stacks) != 1:
            raise AnsibleActionFail(
                f"`-e version=` is the version of one stack: say which one with `-e stack=` "
                f"(this host has {', '.join(stacks) or 'none'})"
            )
        return stacks[0]

    @staticmethod
    def _require_service(plan: Mapping[str, Any], service: str) -> None:
        names = [entry["name"] for entry in plan["services"]]
        if service and service not in names:
            close = difflib.get_close_matches(service, names, n=1)
            advice = f"did you mean {close[0]!r}? " if close else ""
            raise AnsibleActionFail(
                f"{plan['name']} has no service {service!r}: {advice}it has {', '.join(names)}"
            )

    def _variables(self, project: Project, known: dict[str, Any]) -> dict[str, Any]:
        starts = tuple(f"{prefix(name)}_" for name in project.stacks())
        settings = (project.provisioning_settings() | GLOBAL) - FROM_PLAN
        return {
            name: self._templar.template(value)
            for name, value in known.items()
            if name.startswith(starts) or name in settings
        }
