"""An operator's settings for a stack: gathered from Ansible's variables, told apart, checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

from moorage.compose.errors import ComposeError, Problem, did_you_mean, shown
from moorage.render import Settings

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


def gather(stack: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of ``stack`` by their names without the prefix."""
    start = f"{prefix(stack)}_"
    return {
        name.removeprefix(start): value
        for name, value in variables.items()
        if name.startswith(start)
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
            did_you_mean(key, render_keys | deploy_keys | {"secrets"}),
        )
        for key in given
        if key not in render_keys | deploy_keys | {"secrets"}
    ]
    deploy: dict[str, Any] = {}
    for key in sorted(deploy_keys & given.keys()):
        try:
            deploy[key] = _READERS[key](given[key])
        except (TypeError, ValueError) as error:
            problems.append(Problem(f"{prefix(stack)}_{key}", str(error), value=shown(given[key])))
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


def _variables(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping of names to values")
    # Ansible has turned `yes` and 0o17 into what YAML makes of them: only text and numbers are
    # certain to mean what the operator typed.
    bad = [key for key, item in value.items() if isinstance(item, bool) or item is None]
    if bad:
        raise ValueError(f"{', '.join(map(str, bad))}: write the value in quotes")
    return {str(key): str(item) for key, item in value.items()}


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be a list of names")
    return tuple(str(item) for item in value)


def _positive(value: Any) -> int:
    if isinstance(value, bool) or int(value) < 1:
        raise ValueError("must be a whole number from 1 upwards")
    return int(value)


def _batch(value: Any) -> int | str:
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)%", value)):
        if 1 <= int(match[1]) <= 100:
            return value
        raise ValueError("must be a percentage from 1% to 100%")
    try:
        return _positive(value)
    except (TypeError, ValueError):
        raise ValueError("must be a number of hosts or a percentage such as 25%") from None


_READERS: dict[str, Any] = {
    "variables": _variables,
    "profiles": _names,
    "keep_releases": _positive,
    "gate_timeout_seconds": _positive,
    "start_timeout_seconds": _positive,
    "batch": _batch,
}
