"""Several processes of one entry (`numprocs`), and groups of processes."""

from __future__ import annotations

import re

from process_supervisor.config.reader import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Protocol

    class Member(Protocol):
        """What is read of a process; ProcessConfig has it."""

        group: str | None
        depends_on: dict[str, str]


KEYS = ("numprocs", "numprocs_start", "process_name")
MOST = 1000
NUMBER_VARIABLE = "PROCESS_SUPERVISOR_NUMBER"
# As Supervisor writes them; anything else with a % is left alone.
PLACEHOLDER = re.compile(r"%\((process_num|process_name|program_name|group_name)\)(0\d{1,2})?[sd]")


def replicas(item: Mapping[str, object], problems: list[str]) -> list[Mapping[str, object]]:
    """Return the entries that one stands for: itself, or `numprocs` of it with their numbers.

    Each is called `process_name`, by default NAME-NUMBER, and belongs to the group NAME where it
    says no other.
    """
    if item.get("numprocs") is None:
        for key in KEYS[1:]:
            if item.get(key) is not None:
                where = f"process {item.get('name')}"
                problems.append(f"{where}: {key}: is for an entry with numprocs alone")
        return [{key: value for key, value in item.items() if key not in KEYS}]
    name = item.get("name")
    rest = {key: value for key, value in item.items() if key not in KEYS}
    if not isinstance(name, str):
        return [rest]  # which says that it has none
    reader = Reader(item, f"process {name}", problems)
    count = reader.integer("numprocs", 1, 1)
    first = reader.integer("numprocs_start", 1)
    pattern = reader.text("process_name", "%(program_name)s-%(process_num)d") or ""
    group = reader.text("group", name)
    if count > MOST:
        reader.fail("numprocs", f"must be at most {MOST}, not {count}")
        count = 1
    if count > 1 and "%(process_num)" not in pattern:
        reader.fail("process_name", f"needs %(process_num)d to tell them apart, not {pattern!r}")
        count = 1
    made: list[Mapping[str, object]] = []
    for number in range(first, first + count):
        facts: dict[str, object] = {
            "process_num": number, "program_name": name, "group_name": group,
        }  # fmt: skip
        facts["process_name"] = filled(pattern, {**facts, "process_name": name})
        environment = rest.get("environment")
        if environment is None or isinstance(environment, dict):
            environment = {NUMBER_VARIABLE: str(number), **(environment or {})}
        entry = {**rest, "environment": environment}
        one = {key: filled(value, facts, key) for key, value in entry.items()}
        made.append({**one, "name": facts["process_name"], "group": group})
    return made


def filled(value: object, facts: Mapping[str, object], key: str = "") -> object:
    """Return a value with the placeholders in its texts filled in; ports become numbers again."""
    if isinstance(value, dict):
        return {name: filled(item, facts, str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, facts, key) for item in value]
    if not isinstance(value, str):
        return value
    text = PLACEHOLDER.sub(lambda found: put(found, facts), value)
    return int(text) if key in ("port", "ports") and text.isdecimal() else text


def put(found: re.Match[str], facts: Mapping[str, object]) -> str:
    """Return what one placeholder stands for."""
    text = str(facts[found[1]])
    return text.zfill(int(found[2])) if found[2] else text


def members(processes: Mapping[str, Member], group: str) -> list[str]:
    """Return the names of a group's processes; one without a group is a group by itself."""
    return [name for name, config in processes.items() if (config.group or name) == group]


def having(processes: Mapping[str, Member], text: str) -> list[str]:
    """Return whom a name means: `web`, and of groups `web:`, `web:*` and `web:web-1`.

    Raises ValueError when there is none.
    """
    if text in processes:
        return [text]
    group, colon, name = text.partition(":")
    found = members(processes, group) if colon else []
    if colon and name not in ("", "*"):
        found = [name] if name in found else []
    if found:
        return found
    if not colon and members(processes, group):
        raise ValueError(f"{text} is a group: write {text}:")
    what = f"group {group}" if colon and name in ("", "*") else f"process {text}"
    raise ValueError(f"there is no {what} (there are: {listed(processes)})")


def listed(processes: Mapping[str, Member]) -> str:
    """Return the names of all processes and groups, for an error."""
    groups = dict.fromkeys(f"{config.group}:" for config in processes.values() if config.group)
    return ", ".join([*processes, *groups]) or "none"


def resolve_dependencies(processes: Mapping[str, Member]) -> None:
    """Have who depends on a group depend on each of its processes."""
    for config in processes.values():
        found: dict[str, str] = {}
        for other, condition in config.depends_on.items():
            names: Collection[str] = members(processes, other) if other not in processes else ()
            found.update(dict.fromkeys(names or (other,), condition))
        config.depends_on = found
