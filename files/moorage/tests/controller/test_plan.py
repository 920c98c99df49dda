"""Plans made of this checkout's own stacks: stable, sensitive to what matters, honest in errors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from moorage.compose.errors import ComposeError
from moorage.controller.plan import plan_host
from moorage.controller.project import Project

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def project() -> Project:
    return Project(ROOT)


def plan(project: Project, **variables: Any) -> dict[str, Any]:
    settings = {f"tg2em_{name}": value for name, value in variables.items()}
    return plan_host(project, ["all", "tg2em"], settings)


def tg2em(project: Project, **variables: Any) -> dict[str, Any]:
    (stack,) = plan(project, **variables)["stacks"]
    assert isinstance(stack, dict)
    return stack


def test_a_host_in_no_stack_s_group_runs_none(project: Project) -> None:
    found = plan_host(project, ["all", "webservers"], {})
    assert found["stacks"] == [] and found["ports"] == []


def test_the_same_description_is_the_same_release(project: Project) -> None:
    assert tg2em(project)["release"] == tg2em(project)["release"]


@pytest.mark.parametrize(
    "changed",
    [
        {"variables": {"SCRAPER_INTERVAL": "77"}},
        {"environment": {"scraper": {"LOG_LEVEL": "debug"}}},
        {"publish": {"mysql": []}},
        {"limits": {"unified": {"memory": "1g"}}},
    ],
)
def test_what_changes_the_files_changes_the_release(
    project: Project, changed: dict[str, Any]
) -> None:
    assert tg2em(project, **changed)["release"] != tg2em(project)["release"]


@pytest.mark.parametrize(
    "changed",
    [{"keep_releases": 9}, {"gate_timeout_seconds": 5}, {"secrets": {"session_key": "x" * 40}}],
)
def test_what_changes_no_file_changes_no_release(project: Project, changed: dict[str, Any]) -> None:
    assert tg2em(project, **changed)["release"] == tg2em(project)["release"]


def test_no_value_of_a_secret_is_in_a_plan(project: Project) -> None:
    value = "correct-horse-battery-staple-0123456789"
    found = plan(project, secrets={"session_key": value})
    assert found["stacks"][0]["given_secrets"] == ["session_key"]
    assert value not in repr(found)


def test_every_mistake_is_in_one_report(project: Project) -> None:
    with pytest.raises(ComposeError) as error:
        tg2em(
            project, topolgy="unified", keep_releases=0, profiles="services", variables={"A": True}
        )
    text = str(error.value)
    assert "4 problems" in text
    assert "tg2em_topolgy: unknown setting; did you mean 'topology'?" in text
    for name in ("tg2em_keep_releases", "tg2em_profiles", "tg2em_variables"):
        assert name in text


def test_an_unknown_topology_and_an_unknown_secret_are_named(project: Project) -> None:
    with pytest.raises(ComposeError, match="tg2em_topology: topology 'unifed'"):
        tg2em(project, topology="unifed")
    with pytest.raises(ComposeError, match=r"tg2em_secrets\.nosuch: the stack has no such secret"):
        tg2em(project, secrets={"nosuch": "x"})


def test_directories_have_the_owners_of_those_who_write_there(project: Project) -> None:
    found = {entry["path"]: entry for entry in plan(project)["directories"]}
    assert found["/opt/tg2em/data/mysql-data"]["owner"] == 10002
    assert found["/opt/tg2em/logs"]["owner"] == 10001
    assert found["/opt/tg2em/secrets"] == {
        "path": "/opt/tg2em/secrets",
        "owner": 0,
        "group": 0,
        "mode": "0711",
    }
    paths = list(found)
    assert paths == sorted(paths), "parents come before what they hold"


def test_the_stamp_follows_settings_and_roles(project: Project, tmp_path: Path) -> None:
    stamp = plan(project)["stamp"]
    assert plan_host(project, ["tg2em"], {"docker_log_max_size": "1m"})["stamp"] != stamp
    copy = tmp_path / "checkout"
    for part in ("roles", "files"):
        shutil.copytree(
            ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
    elsewhere = Project(copy)
    assert plan(elsewhere)["stamp"] == stamp, "the place of a checkout does not matter"
    tasks = copy / "roles" / "docker" / "tasks" / "main.yml"
    tasks.write_text(tasks.read_text() + "# changed\n")
    assert plan(elsewhere)["stamp"] != stamp
