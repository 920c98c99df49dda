"""What an operator gives a playbook with `-e`: its own options, and settings; nothing else."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from moorage.compose.errors import Problem, did_you_mean, shown
from moorage.controller.project import Project
from moorage.controller.roles import RETIRED, ROLES, own_names
from moorage.controller.settings import owner, prefix
from moorage.settings.host import PREFIX, Host
from moorage.settings.readers import nearest
from moorage.settings.run import Options
from moorage.settings.stack import Settings
from moorage.settings.table import settings_of

# `-e stack=all`, where a playbook may mean all stacks at once.
ALL = "all"
# Settings of every host that are no role's.
GLOBAL = frozenset(PREFIX + name for name in settings_of(Host))
# Every option of a playbook.
OPTIONS = settings_of(Options)
# How alike a name is to a setting's that is taken for a slip of it, of 1.
_A_SLIP = 0.85
_TEMPLATE = re.compile(r"\{\{|\{%")


class OptionError(Exception):
    """An extra variable that cannot be meant; the message says what can."""


def check(
    project: Project,
    declared: Mapping[str, Any],
    extra: Mapping[str, Any],
    known: Mapping[str, Any],
    planned: Collection[str] = (),
) -> None:
    """Raise OptionError for an extra variable that this playbook does not know, or lacks.

    ``declared`` is the play's ``moorage_options``: the names of its ``required`` and ``optional``
    ones, and whether ``all`` stacks may be meant. ``extra`` are the variables given with `-e`,
    ``known`` all variables of the host, the raw texts of those that are templates. Settings of the
    stacks in ``planned`` are left to planning, which looks at all of them.
    """
    required = list(declared.get("required") or ())
    own = {*required, *(declared.get("optional") or ())}
    for name, value in extra.items():
        if name in own:
            _check_value(name, value)
        elif owner(name, project.stacks()) not in planned:
            _check_foreign(project, name, own, known)
    for name in required:
        if name not in known:
            raise OptionError(_lacking(project, name, declared, known))
    if "stack" in known and "stack" in own:
        _check_stack(project, declared, extra, known)


def slips(project: Project, known: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield variables of a host that nothing reads and that are almost a setting's name, or were.

    An inventory may hold what Moorage does not know: only what is very like a setting is taken for
    one, and not where a template of the operator's uses it, nor where it begins like another group.
    """
    stacks = project.stacks()
    settings = _settings(project)
    read = settings.union(OPTIONS, *(own_names(project.root, role) for role in ROLES))
    groups = tuple(f"{prefix(name)}_" for name in known.get("groups") or {} if name not in stacks)
    for name in sorted(known):
        if name in RETIRED:
            yield Problem(name, "is no setting any more", RETIRED[name])
        elif name not in read and not owner(name, stacks) and not name.startswith(groups):
            near = nearest(name, settings, _A_SLIP)
            if near and not _mentioned(name, known):
                yield Problem(name, "unknown setting", f"did you mean {near!r}?")


def _settings(project: Project) -> frozenset[str]:
    return project.provisioning_settings() | GLOBAL | _of_stacks(project.stacks())


def _of_stacks(stacks: Iterable[str]) -> set[str]:
    return {f"{prefix(name)}_{key}" for name in stacks for key in settings_of(Settings)}


def described_stacks(project: Project, known: Mapping[str, Any]) -> list[str]:
    """Return the stacks that hosts of the inventory have."""
    groups = known.get("groups") or {}
    return [name for name in project.stacks() if groups.get(name)]


def _check_value(name: str, value: Any) -> None:
    try:
        OPTIONS[name].read(value)
    except ValueError as error:
        raise OptionError(f"`-e {name}=`: {error} (value: {shown(value)})") from None


def _check_foreign(
    project: Project, name: str, own: Collection[str], known: Mapping[str, Any]
) -> None:
    stack = owner(name, project.stacks())
    words = _of_stacks([stack]) if stack else _settings(project)
    if name in words or name.startswith("ansible_") or _mentioned(name, known):
        return
    if name in RETIRED:
        raise OptionError(f"`-e {name}=`: is no setting any more; {RETIRED[name]}")
    raise OptionError(f"`-e {name}=`: {_nearest(name, words, own)}")


def _nearest(name: str, words: Collection[str], own: Collection[str]) -> str:
    takes = f"its options are {', '.join(sorted(own))}" if own else "it has no options"
    if name in OPTIONS:
        return f"this playbook has no such option; {takes}"
    close = did_you_mean(name, {*words, *own})
    advice = close if close.startswith("did you mean") else takes
    return f"neither an option of this playbook nor a setting; {advice}"


def _mentioned(name: str, known: Mapping[str, Any]) -> bool:
    """Whether an operator's own templates use the variable."""
    word = re.compile(rf"\b{re.escape(name)}\b")
    skipped = {name, "hostvars", "groups", "ansible_facts", "vars"}
    return any(
        _TEMPLATE.search(text) and word.search(text)
        for key, value in known.items()
        if key not in skipped
        for text in _texts(value)
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _lacking(
    project: Project, name: str, declared: Mapping[str, Any], known: Mapping[str, Any]
) -> str:
    if name != "stack":
        return f"say which {name} with `-e {name}=…`"
    stacks = described_stacks(project, known)
    if not stacks:
        return f"no host of the inventory is in the group of a stack ({_names(project.stacks())})"
    everything = f", or all with `-e stack={ALL}`" if declared.get("all") else ""
    return f"say which stack with `-e stack=NAME`{everything}: this inventory has {_names(stacks)}"


def _check_stack(
    project: Project,
    declared: Mapping[str, Any],
    extra: Mapping[str, Any],
    known: Mapping[str, Any],
) -> None:
    name, groups = str(known["stack"]), known.get("groups") or {}
    if name == ALL:
        stacks = _names(described_stacks(project, known))
        if not declared.get("all"):
            raise OptionError(f"one stack at a time here: say which with `-e stack=` ({stacks})")
        for option in ("service", "version"):
            if option in extra:
                raise OptionError(
                    f"`-e {option}=` is of one stack: say which with `-e stack=` ({stacks})"
                )
    elif not groups.get(name):
        stacks_here = described_stacks(project, known)
        close = did_you_mean(name, stacks_here)
        advice = f"{close} " if close.startswith("did you mean") else ""
        raise OptionError(
            f"`-e stack={name}`: no host of the inventory is in the group {name!r}; {advice}"
            f"this inventory has {_names(stacks_here)}"
        )


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
