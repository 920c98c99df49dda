"""Whose setting a variable of Ansible's is: gathered by the stacks' names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from moorage.compose.errors import ComposeError
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


@contextmanager
def variables_named(stack: str) -> Iterator[None]:
    """Have problems with settings name the variables that an operator writes."""
    try:
        yield
    except ComposeError as error:
        start = f"{prefix(stack)}_"
        raise ComposeError(
            replace(problem, where=start + problem.where.removeprefix("settings."))
            if problem.where.startswith("settings.")
            else problem
            for problem in error.problems
        ) from None
