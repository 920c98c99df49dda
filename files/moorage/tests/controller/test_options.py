"""What is given with `-e`: options that a playbook knows, settings, and nothing in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from moorage.controller.options import GLOBAL, OPTIONS, OptionError, check
from moorage.controller.project import Project

ROOT = Path(__file__).resolve().parents[4]
PROJECT = Project(ROOT)
UPDATE = {
    "required": ["stack"],
    "optional": ["service", "version", "batch", "break_lock", "lock_wait"],
    "all": True,
}
GROUPS = {"all": ["a"], "tg2em": ["a"]}


def given(declared: dict[str, Any] = UPDATE, /, **extra: Any) -> None:
    """Check ``extra`` beside what an inventory says."""
    known = {"groups": GROUPS, "colour": "{{ tint }}", "plain": "the tinge of it", **extra}
    check(PROJECT, declared, extra, known)


@pytest.mark.parametrize(
    "extra",
    [
        {"service": "frontend", "version": "v1", "batch": "50%", "lock_wait": "5"},
        {"break_lock": "yes"},
        {"break_lock": True, "batch": 2, "version": 1.4},
        {"moorage_full_run": "true", "edge_tls": "off", "tg2em_secrets": {"session_key": "x"}},
        {"ansible_user": "root"},
        {"tint": "blue"},
    ],
)
def test_options_settings_and_what_an_inventory_uses_are_taken(extra: dict[str, Any]) -> None:
    given(stack="tg2em", **extra)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sevice", "did you mean 'service'?"),
        ("svc", "did you mean 'service'?"),
        ("servcie", "did you mean 'service'?"),
        ("Stack", "did you mean 'stack'?"),
        ("brake_lock", "did you mean 'break_lock'?"),
        ("tag", "its options are batch, break_lock, lock_wait, service, stack, version"),
        ("release", "this playbook has no such option"),
        ("tg2em_topolgy", "did you mean 'tg2em_topology'?"),
        ("edge_tsl", "did you mean 'edge_tls'?"),
        ("moorage_ful_run", "did you mean 'moorage_full_run'?"),
        ("tinge", "neither an option"),
    ],
)
def test_a_slip_is_refused_with_the_nearest_name(name: str, said: str) -> None:
    with pytest.raises(OptionError) as refused:
        given(stack="tg2em", **{name: "x"})
    assert f"`-e {name}=`" in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"service": ""}, "must be a text that is not empty"),
        ({"version": None}, "must be a text"),
        ({"batch": "many"}, "a number of hosts or a percentage"),
        ({"batch": "0%"}, "from 1% to 100%"),
        ({"lock_wait": "soon"}, "must be a number from 0"),
        ({"break_lock": "treu"}, "must be true or false"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named(extra: dict[str, Any], said: str) -> None:
    (name,) = extra
    with pytest.raises(OptionError, match=rf"-e {name}=.*{said}.*\(value: "):
        given(stack="tg2em", **extra)


def test_without_a_stack_the_stacks_are_listed() -> None:
    with pytest.raises(OptionError, match=r"`-e stack=NAME`.*`-e stack=all`.*has tg2em"):
        given()
    with pytest.raises(OptionError, match=r"`-e stack=NAME`: this inventory has tg2em"):
        given({"required": ["stack"]})
    with pytest.raises(OptionError, match="no host of the inventory is in the group of a stack"):
        check(PROJECT, UPDATE, {}, {"groups": {"all": ["a"]}})


def test_a_stack_that_no_host_has_is_refused() -> None:
    with pytest.raises(OptionError, match=r"group 'tg2me'; did you mean 'tg2em'\?"):
        given(stack="tg2me")


def test_all_is_meant_where_it_may_be() -> None:
    given(stack="all")
    with pytest.raises(OptionError, match=r"service=` is of one stack.*tg2em"):
        given(stack="all", service="web")
    with pytest.raises(OptionError, match=r"one stack at a time"):
        given({"required": ["stack"]}, stack="all")


def test_what_is_required_is_asked_for() -> None:
    with pytest.raises(OptionError, match=r"say which service with `-e service=…`"):
        given({"required": ["stack", "service"]}, stack="tg2em")


def test_every_playbook_declares_options_that_there_are() -> None:
    for path in (ROOT / "playbooks").glob("*.yml"):
        (play,) = yaml.safe_load(path.read_text())
        declared = play["vars"]["moorage_options"]
        names = {*declared.get("required", []), *declared.get("optional", [])}
        assert names <= OPTIONS.keys(), path
        # What a playbook and its tasks read is declared, and what is declared is read.
        text = path.read_text()
        tasks = [t for t in (ROOT / "playbooks/tasks").glob("*.yml") if t.name in text]
        assert tasks, f"{path.name} looks at its options nowhere"


def test_the_settings_of_every_host_are_known() -> None:
    assert yaml.safe_load((ROOT / "group_vars/all/main.yml").read_text()).keys() == set(GLOBAL)
