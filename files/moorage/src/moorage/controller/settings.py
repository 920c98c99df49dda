"""An operator's settings for a stack: gathered from Ansible's variables, told apart, checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import date
from math import isfinite
from typing import Any

from moorage.compose.errors import ComposeError, Problem, did_you_mean, shown
from moorage.render import Settings
from moorage.render.values import whole

# Moorage works these out itself; an operator cannot set them.
_DERIVED = {
    "image_refs", "base_dir", "run_dir", "secrets_dir", "behind_edge", "loopback_ports"
}  # fmt: skip


@dataclass(frozen=True)
class DeploySettings:
    """Settings of a deploy that no file of a release depends on. Times are in seconds.

    - ``variables``: values for the Compose file's ``${NAME}``.
    - ``profiles``: Compose profiles that are switched on.
    - ``keep_releases``: how many releases are retained.
    - ``batch``: how many hosts are updated at a time, a number or a percentage of all.
    """

    variables: dict[str, str] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()
    keep_releases: int = 5
    gate_timeout_seconds: int = 120
    start_timeout_seconds: int = 300
    batch: int | str = 1


def prefix(stack: str) -> str:
    """Return what the names of a stack's variables begin with, without the underscore."""
    return re.sub(r"\W", "_", stack)


def setting_names() -> set[str]:
    """Return the names of all settings of a stack, without its prefix."""
    classes = (Settings, DeploySettings)
    return {item.name for one in classes for item in fields(one)} - _DERIVED | {"secrets"}


def owner(variable: str, stacks: Iterable[str]) -> str | None:
    """Return the stack that a variable is a setting of, by its name; None when of none.

    Of ``shop`` and ``shop-api`` the second one owns ``shop_api_publish``: the longest name that
    fits does, before all others one with which the rest is a setting.
    """
    known = setting_names()
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


def split(stack: str, given: Mapping[str, Any]) -> tuple[DeploySettings, dict[str, Any]]:
    """Tell the settings of a deploy from those that a renderer reads.

    ``secrets`` is left out: values of secrets never come near a plan. Raises ComposeError that
    lists every unknown setting and unusable value.
    """
    render_keys = {item.name for item in fields(Settings)} - _DERIVED
    deploy_keys = {item.name for item in fields(DeploySettings)}
    problems = [
        Problem(
            f"{prefix(stack)}_{key}",
            "unknown setting",
            did_you_mean(key, setting_names()),
        )
        for key in given
        if key not in setting_names()
    ]
    deploy: dict[str, Any] = {}
    for key in sorted(deploy_keys & given.keys()):
        try:
            deploy[key] = _READERS[key](given[key])
        except ValueError as error:
            problems.append(Problem(f"{prefix(stack)}_{key}", str(error), value=shown(given[key])))
    problems += _secret_problems(stack, given.get("secrets"))
    if problems:
        raise ComposeError(problems)
    return DeploySettings(**deploy), {key: given[key] for key in sorted(render_keys & given.keys())}


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


def _secret_problems(stack: str, given: Any) -> Iterator[Problem]:
    """What is wrong with the values of secrets; none of them is shown."""
    where = f"{prefix(stack)}_secrets"
    if given is not None and not isinstance(given, Mapping):
        yield Problem(where, f"must be a mapping of names to texts, and is {_kind(given)}")
        return
    for name, value in (given or {}).items():
        if not isinstance(value, str):
            yield Problem(
                f"{where}.{name}",
                f"must be a text, and is {_kind(value)}",
                "write the value in quotes",
            )
        elif not value.isascii() or "\0" in value:
            yield Problem(f"{where}.{name}", "has characters that are not ASCII")


def _kind(value: Any) -> str:
    """What YAML has made of a value, in words."""
    words: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "true or false"),
        ((int, float), "a number"),
        (str, "a text"),
        (date, "a date"),
        (Mapping, "a mapping"),
        ((list, tuple), "a list"),
        (type(None), "empty"),
    ]
    return next((word for kind, word in words if isinstance(value, kind)), "something else")


def _variables(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping of names to values")
    # Ansible has turned `yes` and 0o17 into what YAML makes of them: only text and numbers are
    # certain to mean what the operator typed.
    bad = [
        key
        for key, item in value.items()
        if isinstance(item, bool)
        or not isinstance(item, (str, int, float))
        or (isinstance(item, float) and not isfinite(item))
    ]
    if bad:
        raise ValueError(f"{', '.join(map(str, bad))}: must be a text; write the value in quotes")
    return {str(key): str(item) for key, item in value.items()}


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ValueError("must be a list of names")
    return tuple(value)


def batch(value: Any) -> int | str:
    """Read how many hosts are updated at a time; raises ValueError."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)%", value)):
        if 1 <= int(match[1]) <= 100:
            return value
        raise ValueError("must be a percentage from 1% to 100%")
    try:
        return int(whole(1)(value))
    except ValueError:
        raise ValueError("must be a number of hosts or a percentage such as 25%") from None


_READERS: dict[str, Any] = {
    "variables": _variables,
    "profiles": _names,
    "keep_releases": whole(1),
    "gate_timeout_seconds": whole(1),
    "start_timeout_seconds": whole(1),
    "batch": batch,
}
