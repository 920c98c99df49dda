"""Whose setting a variable of Ansible's is: gathered by the stacks' names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from moorage.compose.errors import ComposeError, Problem, problem_of
from moorage.controller.roles import ROLES, settings_of_role
from moorage.settings.host import PREFIX, Host
from moorage.settings.readers import Unusable
from moorage.settings.stack import Settings
from moorage.settings.table import settings_of


def prefix(stack: str) -> str:
    """Return what the names of a stack's variables begin with, without the underscore."""
    return re.sub(r"\W", "_", stack)


def owner(variable: str, stacks: Iterable[str]) -> str | None:
    """Return the stack that a variable is a setting of, by its name; None when of none.

    Of ``shop`` and ``shop-api`` the second one owns ``shop_api_publish``: the longest name that
    fits does, before all others one with which the rest is a setting.
    """
    known = settings_of(Settings)
    fitting = [name for name in stacks if variable.startswith(f"{prefix(name)}_")]
    return max(
        fitting,
        key=lambda name: (variable.removeprefix(f"{prefix(name)}_") in known, len(name)),
        default=None,
    )


def gather(stack: str, variables: Mapping[str, Any], stacks: Iterable[str]) -> dict[str, Any]:
    """Return the variables of ``stack``, one of ``stacks``, by their names without the prefix."""
    start, names = f"{prefix(stack)}_", list(stacks)
    return {
        name.removeprefix(start): value
        for name, value in variables.items()
        if name.startswith(start) and owner(name, names) == stack
    }


def host_settings(root: Path, variables: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Return a host's settings of all roles by their whole names, and what is wrong with them.

    What is wrong, and what ``variables`` do not have, is as its role has it by default. Settings of
    every host (`moorage_…`) are looked at, too.
    """
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    tables = [settings_of_role(root, role) for role in ROLES]
    for table in [*tables, {PREFIX + name: entry for name, entry in settings_of(Host).items()}]:
        for name, entry in table.items():
            found[name] = entry.default
            try:
                if name in variables:
                    found[name] = entry.read(variables[name])
            except Unusable as error:
                problems += [problem_of(fault.below(name), "") for fault in error.faults]
    return found, problems


@contextmanager
def variables_named(stack: str) -> Iterator[None]:
    """Have problems with settings name the variables that an operator writes."""
    start = f"{prefix(stack)}_"
    try:
        yield
    except Unusable as error:
        raise ComposeError(problem_of(fault, start) for fault in error.faults) from None
    except ComposeError as error:
        raise ComposeError(
            replace(problem, where=start + problem.where.removeprefix("settings."))
            if problem.where.startswith("settings.")
            else problem
            for problem in error.problems
        ) from None
