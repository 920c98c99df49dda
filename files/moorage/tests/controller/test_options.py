"""What is given with `-e`: options that a playbook knows, settings, and nothing in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from moorage.controller.options import GLOBAL, OPTIONS, OptionError, check, slips
from moorage.controller.project import Project
from moorage.controller.roles import RETIRED
from moorage.settings.stack import Settings
from moorage.settings.table import settings_of

ROOT = Path(__file__).resolve().parents[4]
PROJECT = Project(ROOT)
UPDATE = {
    "required": ["stack"],
    "optional": ["service", "version", "batch", "break_lock", "lock_wait"],
    "all": True,
}
SCALE = {"required": ["stack", "service", "replicas"], "optional": ["batch"]}
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
        ("tg2me_topology", "did you mean 'tg2em_topology'?"),
        ("tg2em_drian_seconds", "did you mean 'tg2em_drain_seconds'?"),
        ("runtime_dir", "is no setting any more; remove it"),
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


ALL = sorted(
    {f"tg2em_{name}" for name in settings_of(Settings)} | PROJECT.provisioning_settings() | GLOBAL
)


def found(**variables: Any) -> list[str]:
    """Say what is taken for a slip."""
    return [str(problem) for problem in slips(PROJECT, {"groups": GROUPS, **variables})]


@pytest.mark.parametrize("name", [name for name in ALL if len(name) > len("tg2em_dns")])
def test_two_letters_of_a_setting_that_changed_places_are_told(name: str) -> None:
    # In group_vars, where nothing would read it. One of a planned stack is told by its plan.
    middle = next(n for n in range(len(name) - 2, 0, -1) if name[n] != name[n + 1])
    slip = f"{name[:middle]}{name[middle + 1]}{name[middle]}{name[middle + 2 :]}"
    if name.startswith("tg2em_"):
        slip = f"tg2me_{name.removeprefix('tg2em_')}"
    (told,) = found(**{slip: "x"})
    assert told.startswith(f"{slip}: unknown setting; did you mean '"), told
    assert name in told


@pytest.mark.parametrize("name", sorted(RETIRED))
def test_a_setting_of_before_is_told_what_to_do_instead(name: str) -> None:
    assert found(**{name: "x"}) == [f"{name}: is no setting any more; {RETIRED[name]}"]


def test_what_an_inventory_has_besides_settings_is_left_alone() -> None:
    assert found(host_ip="192.0.2.1", docker_user="me", moorage_plan={}, edge_plan={}) == []
    assert found(host_managed_files=[], lock_wait=5, tg2em_topolgy="for its plan") == []
    # A helper of the operator's, and a group that is a stack of another checkout.
    assert found(edge_tsl="acme", edge_tls="{{ edge_tsl }}") == []
    assert found(groups={**GROUPS, "tg3em": ["b"]}, tg3em_topology="unified") == []


def test_every_variable_of_roles_and_settings_of_a_host_is_known() -> None:
    variables = dict.fromkeys(ALL, "x")
    for path in [*ROOT.glob("roles/*/vars/main.yml"), *ROOT.glob("roles/*/defaults/main.yml")]:
        variables |= dict.fromkeys(yaml.safe_load(path.read_text()), "x")
    for path in (ROOT / "playbooks").glob("*.yml"):
        variables |= dict.fromkeys(yaml.safe_load(path.read_text())[0]["vars"], "x")
    assert found(**variables) == []


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


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5", "101", True])
def test_a_number_of_replicas_that_cannot_be_meant(number: Any) -> None:
    with pytest.raises(OptionError, match="`-e replicas=`: must be a whole number from 1 to 100"):
        given(SCALE, stack="tg2em", service="frontend", replicas=number)


def test_who_scales_says_what_and_how_often() -> None:
    given(SCALE, stack="tg2em", service="frontend", replicas="3")
    with pytest.raises(OptionError, match="say which replicas with"):
        given(SCALE, stack="tg2em", service="frontend")
