"""Which hosts an update changes, in which batches, and what it says when one of them fails."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

SOURCE = Path(__file__).resolve().parents[4] / "plugins/filter/moorage.py"
OLD, NEW = "0" * 12, "1" * 12


def filters() -> dict[str, Callable[..., Any]]:
    """Return the filters as Ansible finds them."""
    spec = importlib.util.spec_from_file_location("moorage_filters", SOURCE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Callable[..., Any]] = module.FilterModule().filters()
    return found


FILTERS = filters()


def host(
    running: str = OLD, planned: str = NEW, *, stack: str = "shop", **more: Any
) -> dict[str, Any]:
    """Return the variables of a host after plan and survey."""
    plan = {
        "name": stack,
        "release": planned,
        "services": [],
        "given_secrets": [],
        "manifest": {"version": ""},
        "batch": 1,
    }
    current = {"dir": running} if running else None
    seen: dict[str, Any] = {"current": current, "containers": [], "interrupted": False}
    survey = {"stacks": {stack: seen}}
    return {"moorage_plan": {"stacks": [plan]}, "moorage_survey": survey, **more}


def rolled(outcome: str, release: str = NEW, previous: str | None = OLD) -> dict[str, Any]:
    """Return what moorage_activate returned."""
    done = {"outcome": outcome, "release": release, "previous": previous, "changed": True}
    failed = {} if outcome == "activated" else {"failed": True, "msg": "the gate stayed closed"}
    return {"stack": "shop", "outcome": done, "reservation_ended": False, **failed}


LOST = {"unreachable": True, "failed": True, "msg": "no route to host"}


def test_only_hosts_whose_release_differs_are_changed() -> None:
    hosts = {"a": host(), "b": host(running=NEW), "c": host(), "d": {"moorage_plan": {}}}
    assert FILTERS["moorage_todo"](hosts, hosts) == {"shop": ["a", "c"]}
    assert FILTERS["moorage_todo"](hosts, hosts, "true") == {"shop": ["a", "b", "c"]}


def test_a_host_that_left_the_run_is_not_changed() -> None:
    hosts = {"a": host(), "b": host()}
    assert FILTERS["moorage_todo"](hosts, ["b"]) == {"shop": ["b"]}


def test_given_secrets_and_an_interrupted_rollout_are_looked_at_again() -> None:
    given, interrupted = host(running=NEW), host(running=NEW)
    given["moorage_plan"]["stacks"][0]["given_secrets"] = ["token"]
    interrupted["moorage_survey"]["stacks"]["shop"]["interrupted"] = True
    hosts = {"a": given, "b": interrupted}
    assert FILTERS["moorage_todo"](hosts, hosts) == {"shop": ["a", "b"]}


def test_what_there_is_to_do_is_said_for_every_host() -> None:
    hosts = {"a": host(), "b": host(running=NEW), "c": host(running="")}
    hosts["a"]["moorage_plan"]["stacks"][0]["manifest"]["version"] = "v1.2"
    assert FILTERS["moorage_intent"](hosts, list(hosts)) == [
        f"shop on a: from {OLD} to {NEW} (v1.2)",
        f"shop on b: release {NEW} runs and is in order, nothing to do",
        f"shop on c: from nothing to {NEW}",
    ]
    assert FILTERS["moorage_intent"]({}, []) == ["no host of this run has a stack"]


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (1, [1, 1, 1, 1, 1]),
        ("2", [2, 2, 1]),
        ("50%", [2, 2, 1]),
        ("100%", [5]),
        (9, [5]),
        # A tenth of five hosts would be none at all.
        ("10%", [1, 1, 1, 1, 1]),
    ],
)
def test_a_batch_is_a_number_or_a_percentage(size: Any, sizes: list[int]) -> None:
    names = list("abcde")
    made = FILTERS["moorage_batches"](names, size)
    assert [len(batch) for batch in made] == sizes
    assert [name for batch in made for name in batch] == names


@pytest.mark.parametrize("size", [0, "0%", "101%", "-1", "half", "1.5"])
def test_what_is_no_batch_is_refused(size: Any) -> None:
    with pytest.raises(ValueError, match="number of hosts from 1, or a percentage"):
        FILTERS["moorage_batches"](["a"], size)


def test_the_stack_says_how_many_at_a_time_and_the_run_may_say_otherwise() -> None:
    hosts = {name: host() for name in "abc"}
    hosts["a"]["moorage_plan"]["stacks"][0]["batch"] = 2
    assert FILTERS["moorage_rounds"](hosts, list("abc"), "shop") == [["a", "b"], ["c"]]
    assert FILTERS["moorage_rounds"](hosts, list("abc"), "shop", "100%") == [["a", "b", "c"]]


def test_a_lost_host_counts_as_failed() -> None:
    hosts = {
        "a": {"__stack_rolled": rolled("activated")},
        "b": {"__stack_rolled": rolled("restored")},
        "c": {"__stack_rolled": LOST},
        "d": {"__stack_rolled": {"skipped": True}},
        "e": {},
    }
    assert FILTERS["moorage_failed"](hosts, list("abcde"), "__stack_rolled") == ["b", "c"]


def test_only_what_switched_in_this_run_goes_back() -> None:
    switched = FILTERS["moorage_switched"]
    hosts = {
        "a": {"__stack_rolled": rolled("activated")},
        "same": {"__stack_rolled": rolled("activated", NEW, NEW)},
        "other": {"__stack_rolled": {**rolled("activated"), "stack": "kiosk"}},
        "failed": {"__stack_rolled": rolled("restored")},
        "never": {},
    }
    assert [name for name in hosts if switched(hosts, name, "shop")] == ["a"]


def test_the_report_gives_the_reason_and_every_host_s_release() -> None:
    put_back = {"stack": "shop", "outcome": {"outcome": "activated", "release": OLD}}
    stuck = {"stack": "shop", "failed": True, "msg": "disk full"}
    hosts = {
        "a": host(__stack_rolled=rolled("activated"), __stack_put_back=put_back),
        "b": host(__stack_rolled=rolled("restored")),
        "c": host(__stack_rolled=LOST),
        "d": host(__stack_rolled=rolled("activated"), __stack_put_back=stuck),
        "e": host(running="", __stack_rolled=rolled("activated", NEW, None)),
        "f": host(__stack_rolled={"skipped": True}),
        "g": host(__stack_rolled={"failed": True, "msg": "Killed"}),
        # As in a rollback, which plans and surveys nothing.
        "h": {
            "__stack_rolled": {"failed": True, "msg": "no such release", "reservation_ended": True}
        },
        "i": host(running=""),
    }
    assert FILTERS["moorage_report"](hosts, list(hosts), "shop").splitlines() == [
        "b: the gate stayed closed",
        "c: cannot be reached: no route to host",
        "g: Killed",
        "h: no such release",
        "what the hosts of shop run now:",
        f"  a: release {OLD} (went back)",
        f"  b: release {OLD} (as before)",
        "  c: unknown, the host cannot be reached",
        f"  d: release {NEW} (could not go back: disk full)",
        f"  e: release {NEW} (its first one: there is none to go back to)",
        f"  f: release {OLD} (as before)",
        "  g: unknown, it was cut off: `moorage status shop` there tells",
        "  h: what it ran before",
        "  i: nothing yet",
    ]


def beside(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of a host with the stacks of two hosts."""
    one, two = (h["moorage_plan"]["stacks"] for h in (first, second))
    seen = {**first["moorage_survey"]["stacks"], **second["moorage_survey"]["stacks"]}
    return {"moorage_plan": {"stacks": [*one, *two]}, "moorage_survey": {"stacks": seen}}


def waiting(stack: str, *after: str, running: str = OLD) -> dict[str, Any]:
    found = host(running, stack=stack)
    found["moorage_survey"]["stacks"][stack]["after"] = list(after)
    return found


def test_a_stack_is_taken_after_those_that_make_room_for_it() -> None:
    hosts = {"a": beside(waiting("blog", "shop"), waiting("shop"))}
    assert list(FILTERS["moorage_todo"](hosts, hosts)) == ["shop", "blog"]
    # Another host, where there is nothing to wait for, follows.
    hosts["b"] = beside(waiting("blog"), waiting("shop"))
    assert list(FILTERS["moorage_todo"](hosts, hosts)) == ["shop", "blog"]
    # Who has nothing to do makes no room.
    hosts = {"a": beside(waiting("blog", "shop"), waiting("shop", running=NEW))}
    assert FILTERS["moorage_todo"](hosts, hosts) == {"blog": ["a"]}


def test_hosts_that_need_different_orders_are_told_before_anything_is_changed() -> None:
    hosts = {
        "a": beside(waiting("blog", "shop"), waiting("shop")),
        "b": beside(waiting("blog"), waiting("shop", "blog")),
    }
    with pytest.raises(AnsibleFilterError, match=r"blog, shop in different orders.*--limit"):
        FILTERS["moorage_todo"](hosts, hosts)
