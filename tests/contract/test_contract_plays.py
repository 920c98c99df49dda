"""What plays and Molecule scenarios keep to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from moorage.controller.roles import RELEASE_ROLE, ROLES

ROOT = Path(__file__).resolve().parents[2]

PLAYBOOKS = [ROOT / "site.yml", *sorted((ROOT / "playbooks").glob("*.yml"))]
PRESENT = sorted(path.parent.name for path in ROOT.glob("roles/*/tasks"))
SCENARIOS = sorted(path.parent for path in (ROOT / "molecule").glob("*/molecule.yml"))


def test_group_vars_beside_the_playbooks_are_those_at_the_root() -> None:
    # Without it, what site.yml imports ignores the operator's settings without a word.
    link = ROOT / "playbooks/group_vars"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "group_vars"


def asked(*options: str) -> str:
    """Return what ansible-playbook says of playbooks without playing them."""
    tool = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [str(tool), *options, "-i", "localhost,"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_playbooks_have_a_valid_syntax() -> None:
    # One after the other in one process; it names the first that has none.
    read = asked("--syntax-check", *(str(path) for path in PLAYBOOKS))
    assert read.count("playbook: ") == len(PLAYBOOKS), read


def test_provisioning_plays_every_role_but_that_of_stacks() -> None:
    (play,) = yaml.safe_load((ROOT / "playbooks/provision.yml").read_text(encoding="utf-8"))
    imports = "ansible.builtin.import_role"
    played = [task[imports]["name"] for task in play["tasks"] if imports in task]
    assert tuple(played) == ROLES
    assert {*PRESENT} - {*played} == {RELEASE_ROLE}


@pytest.fixture(scope="module")
def listed() -> list[tuple[str, set[str]]]:
    """Return every task of site.yml with its tags: `--tags` plays those that have one of them."""
    lines = [line for line in asked("--list-tasks", "site.yml").splitlines() if "TAGS: [" in line]
    parts = [line.strip().rstrip("]").partition("\tTAGS: [") for line in lines]
    return [(name, set(filter(None, tags.split(", ")))) for name, _, tags in parts]


@pytest.mark.parametrize("role", PRESENT)
def test_a_role_can_be_played_alone_and_finds_plan_and_survey(
    listed: list[tuple[str, set[str]]], role: str
) -> None:
    assert ("Survey the host", {"always"}) in listed
    assert any(tags == {role} for _, tags in listed), listed
    assert all(tags == {role} for _, tags in listed if role in tags), listed


def test_a_listed_playbook_is_a_list_of_named_plays() -> None:
    for playbook in PLAYBOOKS:
        plays = yaml.safe_load(playbook.read_text(encoding="utf-8"))
        assert all(play.get("name") for play in plays), playbook


def test_there_are_scenarios() -> None:
    # Molecule would run none of them and say that all is well.
    assert SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_a_scenario_has_tests(scenario: Path) -> None:
    # Molecule says that all is well when it finds no tests. They are collected as it does that,
    # so that a helper which cannot be imported shows here and not after minutes of converging.
    files = sorted(str(path) for path in scenario.glob("tests/**/test_*.py"))
    assert files
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", *files],
        cwd=scenario,
        # How much this run says is no matter of what is collected there.
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    collected = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    assert len(collected) == len(files), "a file has no tests"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_a_scenario_that_converges_is_tried_dry_twice_and_verified(scenario: Path) -> None:
    shared = yaml.safe_load((ROOT / ".config/molecule/config.yml").read_text(encoding="utf-8"))
    own = yaml.safe_load((scenario / "molecule.yml").read_text(encoding="utf-8"))
    sequence = own.get("scenario", shared["scenario"])["test_sequence"]
    wanted = ["destroy", "create", "prepare", "check", "converge", "idempotence", "verify"]
    if "converge" not in sequence:
        wanted = [step for step in wanted if step not in ("check", "converge", "idempotence")]
    assert [s for s in sequence if not s.startswith("side_effect")] == [*wanted, "destroy"]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_a_scenario_plays_the_real_playbooks_or_those_of_all_scenarios(scenario: Path) -> None:
    own = {path.name for path in scenario.glob("*.yml")} - {"molecule.yml"}
    for name in own & {"converge.yml"}:
        text = (scenario / name).read_text(encoding="utf-8")
        assert "import_playbook" in text, f"{scenario.name}/{name} is a play of its own"


def test_every_directory_of_scenario_tests_has_its_scenario() -> None:
    with_tests = {path.parent for path in (ROOT / "molecule").glob("*/tests")}
    assert sorted(path.name for path in with_tests - set(SCENARIOS)) == []
