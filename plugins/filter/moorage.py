"""Filters that the playbooks decide with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ansible.errors import AnsibleFilterError

GOOD = ("activated", "unchanged")


def moorage_settled(plan: Mapping[str, Any], seen: Mapping[str, Any]) -> bool:
    """Tell whether a stack already is what its plan asks for.

    ``plan`` is one of the stacks of ``moorage_plan``, ``seen`` what the survey found of it: its
    current release must be the planned one, with all that it runs from, and its containers there,
    in order and no others. An interrupted rollout leaves something to put right in any case.
    """
    current = seen.get("current")
    if not current or _planned(current) != plan["release"]:
        return False
    if any(seen.get(key) for key in ("interrupted", "stale_secrets", "astray", "lacking", "due")):
        return False
    containers = {c.get("name"): c for c in seen.get("containers") or []}
    wanted = {name: service for service in plan["services"] for name in service["containers"]}
    return containers.keys() == wanted.keys() and all(
        _in_order(service, containers[name]) for name, service in wanted.items()
    )


def _planned(current: Mapping[str, Any]) -> Any:
    """Return what a plan calls the running release; one with pulled images has another id."""
    return current.get("planned") or current.get("dir")


def _in_order(service: Mapping[str, Any], container: Mapping[str, Any]) -> bool:
    if container.get("state") == "running":
        return container.get("health") in (None, "", "none", "healthy")
    if service["kind"] == "process":
        return False
    if service["on_demand"]:
        return container.get("state") in ("created", "exited")
    return bool(service["one_off"] and container.get("exit_code") == 0)


def moorage_idle(plan: Mapping[str, Any], seen: Mapping[str, Any]) -> bool:
    """Tell whether there is nothing to do for a stack on a host.

    One with secrets from a vault is looked at again: a plan holds no values to compare.
    """
    return not plan["given_secrets"] and moorage_settled(plan, seen)


def moorage_todo(
    hosts: Mapping[str, Any], names: Iterable[str], everything: Any = False
) -> dict[str, list[str]]:
    """Return for every stack the hosts that have to be changed, in the inventory's order.

    A stack that takes what another one gives up comes after it. ``hosts`` is Ansible's
    ``hostvars``, ``names`` the hosts of the play. With ``everything`` what seems to be in order is
    gone through as well.
    """
    todo: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for name, stack, seen in _stacks(hosts, names):
        if _yes(everything) or not moorage_idle(stack, seen):
            todo.setdefault(stack["name"], []).append(name)
            after.setdefault(stack["name"], []).extend(seen.get("after") or [])
    return {stack: todo[stack] for stack in _in_turn(sorted(todo), after)}


def _in_turn(stacks: Iterable[str], after: Mapping[str, Iterable[str]]) -> list[str]:
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for stack in stacks:
        sorter.add(stack, *(name for name in after[stack] if name in after))
    try:
        return list(sorter.static_order())
    except CycleError as error:
        names = ", ".join(sorted(set(error.args[1])))
        raise AnsibleFilterError(
            f"hosts of this run need {names} in different orders, since they are at different "
            "releases: nothing was changed; run it for one host at a time with `--limit HOST`"
        ) from None


def _yes(value: Any) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1")


def _stacks(
    hosts: Mapping[str, Any], names: Iterable[str]
) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield host, plan and what the survey saw for every stack of every host."""
    for name in names:
        known = hosts[name]
        plan = known.get("moorage_plan") or {}
        seen = (known.get("moorage_survey") or {}).get("stacks") or {}
        for stack in plan.get("stacks") or []:
            if stack["name"] in seen:
                yield name, stack, seen[stack["name"]]


def moorage_intent(
    hosts: Mapping[str, Any], names: Sequence[str], everything: Any = False
) -> list[str]:
    """Return a line for every stack of every host: what runs, and what shall run."""
    todo = moorage_todo(hosts, names, everything)
    lines = []
    for name, stack, seen in _stacks(hosts, names):
        current = seen.get("current") or {}
        running = current.get("dir") or "nothing"
        version = stack["manifest"].get("version")
        wanted = f"{stack['release']} ({version})" if version else stack["release"]
        what = f"{stack['name']} on {name}"
        if name not in todo.get(stack["name"], []):
            lines.append(f"{what}: release {wanted} runs and is in order, nothing to do")
        elif _planned(current) == stack["release"]:
            why = f", and {', '.join(due)} pulled again" if (due := seen.get("due")) else ""
            lines.append(f"{what}: release {wanted} is looked through again{why}")
        else:
            lines.append(f"{what}: from {running} to {wanted}")
    return lines or ["no host of this run has a stack"]


def moorage_batches(hosts: Sequence[str], size: Any) -> list[list[str]]:
    """Split hosts into batches of ``size``: a number from 1, or a percentage such as 50%.

    A percentage is of all hosts given, and never less than one of them. Raises ValueError.
    """
    text = str(size).strip()
    match = re.fullmatch(r"(\d+)(%?)", text)
    if not match or int(match.group(1)) < 1 or (match.group(2) and int(match.group(1)) > 100):
        raise ValueError(f"a batch is a number of hosts from 1, or a percentage, not {text!r}")
    number = int(match.group(1))
    count = max(1, len(hosts) * number // 100) if match.group(2) else number
    return [list(hosts[n : n + count]) for n in range(0, len(hosts), count)]


def moorage_rounds(
    hosts: Mapping[str, Any], names: Sequence[str], stack: str, size: Any = ""
) -> list[list[str]]:
    """Return the batches of ``names``: by ``size``, else as the stack says, else one each."""
    plans = (hosts[names[0]].get("moorage_plan") or {}).get("stacks") or []
    own = next((plan.get("batch") for plan in plans if plan["name"] == stack), None)
    return moorage_batches(names, size or own or 1)


def moorage_failed(hosts: Mapping[str, Any], names: Iterable[str], result: str) -> list[str]:
    """Return those of ``names`` whose registered ``result`` is a failure, or that were lost."""
    return [name for name in names if _trouble(hosts[name].get(result))]


def moorage_switched(hosts: Mapping[str, Any], name: str, stack: str) -> bool:
    """Tell whether a host has switched to another release of ``stack`` in this run."""
    rolled = hosts[name].get("__stack_rolled") or {}
    outcome = rolled.get("outcome") or {}
    moved = outcome.get("previous") != outcome.get("release")
    return rolled.get("stack") == stack and outcome.get("outcome") == "activated" and moved


def moorage_report(hosts: Mapping[str, Any], names: Sequence[str], stack: str) -> str:
    """Return why an update failed and which host is on which release, for a person."""
    lines = []
    for name in names:
        for result in ("__stack_prepared", "__stack_rolled"):
            trouble = _trouble(hosts[name].get(result))
            if trouble:
                lines.append(f"{name}: {trouble}")
    lines.append(f"what the hosts of {stack} run now:")
    lines += [f"  {name}: {_standing(hosts[name], name, stack, hosts)}" for name in names]
    return "\n".join(lines)


def _standing(known: Mapping[str, Any], name: str, stack: str, hosts: Mapping[str, Any]) -> str:
    rolled, back = known.get("__stack_rolled") or {}, known.get("__stack_put_back") or {}
    mine = rolled if rolled.get("stack") == stack else {}
    outcome = mine.get("outcome") or {}
    if rolled.get("unreachable") or (known.get("__stack_prepared") or {}).get("unreachable"):
        return "unknown, the host cannot be reached"
    if rolled.get("failed") and "reservation_ended" not in rolled:
        return f"unknown, it was cut off: `moorage status {stack}` there tells"
    if moorage_switched(hosts, name, stack):
        if outcome.get("previous") is None:
            return f"release {outcome['release']} (its first one: there is none to go back to)"
        if back.get("stack") == stack and not _trouble(back):
            return f"release {outcome['previous']} (went back)"
        reason = _trouble(back) or "was not asked to go back"
        return f"release {outcome['release']} (could not go back: {reason})"
    if outcome.get("outcome") == "failed" and outcome.get("changed"):
        return "see above: it failed, and nothing was put back"
    if "moorage_survey" not in known and not outcome:
        return "what it ran before"
    seen = ((known.get("moorage_survey") or {}).get("stacks") or {}).get(stack) or {}
    running = outcome.get("previous") or (seen.get("current") or {}).get("dir")
    return f"release {running} (as before)" if running else "nothing yet"


def _trouble(result: Any) -> str:
    if not isinstance(result, Mapping) or (result.get("skipped") and not result.get("unreachable")):
        return ""
    if result.get("unreachable"):
        return f"cannot be reached: {result.get('msg', '')}".strip()
    return str(result.get("msg") or "failed") if result.get("failed") else ""


class FilterModule:
    """What Ansible asks this file for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "moorage_settled": moorage_settled,
            "moorage_idle": moorage_idle,
            "moorage_todo": moorage_todo,
            "moorage_intent": moorage_intent,
            "moorage_batches": moorage_batches,
            "moorage_rounds": moorage_rounds,
            "moorage_failed": moorage_failed,
            "moorage_switched": moorage_switched,
            "moorage_report": moorage_report,
        }
