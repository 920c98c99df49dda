"""Settings of a stack: whose they are, and that a wrong one is told in a sentence."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from moorage.compose.errors import ComposeError
from moorage.controller.plan import draft_stack, plan_host
from moorage.controller.project import Project
from moorage.controller.settings import gather, owner
from moorage.settings.stack import Settings
from moorage.settings.table import settings_of

ROOT = Path(__file__).resolve().parents[4]
NAMES = ("shop", "shop-api", "shop-api-v2", "shop-process-log")
# What YAML, JSON and a command line can make of a slip.
WRONG: list[Any] = [
    None, True, -1, -1.5, -float("inf"), float("nan"), float("inf"), 10**30, 10**400, "zero",
    "1e999", "", "\0", "x" * 200, "🐘", b"x", datetime.date(2026, 1, 1), [None], [1], [{}], [["a"]],
    {"a": None}, {1: 2}, {None: None}, {"web": None}, {"web": 1}, {"web": [None]},
    {"web": {"x": {}}}, {"web": {"memory": []}}, {"web": {"memory": True}},
    {"web": {"cpus": "many"}},
    {"web": {"cpus": float("nan")}}, {"web": {"pids": float("inf")}}, {"web": {"pids": 1.5}},
    {"rate": "x"}, {"targets": [{}]}, {"budget": [1]}, {"max_body_bytes": float("inf")},
    {"hold_seconds": None}, {"static_paths": "/x"},
]  # fmt: skip
PYTHON = re.compile(
    r"NoneType|literal|could not convert|argument|object|not all arguments|unhashable|subscript"
    r"|Traceback|attribute|iterable|expected|cannot convert|Overflow|\bdict\b|\bint\b|\bfloat\b"
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """This checkout with a stack `web` of one data service beside its own."""
    (tmp_path / "kiosk").mkdir()
    (tmp_path / "kiosk/compose.yml").write_text(
        "services: {web: {image: 'mariadb:11.8', user: '10:10', secrets: [token]}}\n"
        "secrets: {token: {x-moorage: {optional: true}}}\n"
    )
    return Project(ROOT, (tmp_path,))


def plan(project: Project, **settings: Any) -> dict[str, Any]:
    variables = {f"kiosk_{name}": value for name, value in settings.items()}
    return plan_host(project, ["kiosk"], {"kiosk_topology": "containers", **variables})


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("name", sorted(settings_of(Settings)))
def test_a_wrong_value_is_told_in_a_sentence(project: Project, name: str, value: Any) -> None:
    proxies = {"MOORAGE_PROXIES": "1", "MOORAGE_PROXY_NETWORKS": ""}
    try:
        draft_stack(project, "kiosk", {"topology": "containers", name: value}, proxies)
    except ComposeError as error:
        text = str(error)
        assert f"- kiosk_{name}" in text, text
        assert not PYTHON.search(re.sub(r"\(value: .*?\)(?=$|;)", "", text, flags=re.M)), text


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("keep_releases", "zero", 'must be a whole number from 1 to 1000000000 (value: "zero")'),
        ("keep_releases", None, "must be a whole number from 1"),
        ("keep_releases", 1.5, "must be a whole number from 1"),
        ("gate_timeout_seconds", [], "must be a whole number from 1"),
        ("batch", float("inf"), "must be a number of hosts or a percentage such as 25%"),
        ("limits", {"web": {"cpus": "many"}}, "cpus: must be a number from 0.001"),
        ("log_max_size", "big", 'must be a size such as 64m (value: "big")'),
        ("variables", {"A": [1]}, "A: must be a text; write the value in quotes (value: [1])"),
        ("profiles", [1], "[0]: must be a name (value: 1)"),
        ("profiles", "x", "must be a list of names"),
        ("secrets", "x", "must be a mapping of names to texts, and is a text"),
    ],
)
def test_setting_value_and_what_is_allowed(
    project: Project, name: str, value: Any, said: str
) -> None:
    with pytest.raises(ComposeError) as refused:
        plan(project, **{name: value})
    assert f"- kiosk_{name}" in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (12345678, "must be a text, and is a number; write the value in quotes"),
        (True, "must be a text, and is true or false"),
        (None, "must be a text, and is empty"),
        (["s3cret"], "must be a text, and is a list"),
        ("pässword", "has characters that are not ASCII"),
    ],
)
def test_a_secret_is_a_text_and_is_not_shown(project: Project, value: Any, said: str) -> None:
    with pytest.raises(ComposeError) as refused:
        plan(project, secrets={"token": value})
    assert f"kiosk_secrets.token: {said}" in str(refused.value)
    assert "12345678" not in str(refused.value) and "s3cret" not in str(refused.value)


def test_numbers_from_a_command_line_are_numbers(project: Project) -> None:
    (stack,) = plan(project, keep_releases="7", process_log_backups="2")["stacks"]
    assert stack["keep_releases"] == 7


@pytest.mark.parametrize("names", [NAMES, NAMES[::-1]])
@pytest.mark.parametrize(
    ("variable", "stack"),
    [
        ("shop_publish", "shop"),
        ("shop_api_publish", "shop-api"),
        ("shop_api_v2_publish", "shop-api-v2"),
        ("shop_api_v3_publish", "shop-api"),
        # A setting of `shop` may look like one of a stack whose name goes on.
        ("shop_process_log_max_bytes", "shop"),
        ("shop_process_log_publish", "shop-process-log"),
        ("shopping_publish", None),
    ],
)
def test_the_longest_name_that_fits_owns_a_setting(
    names: tuple[str, ...], variable: str, stack: str | None
) -> None:
    assert owner(variable, names) == stack
    for name in names:
        assert bool(gather(name, {variable: 1}, names)) == (name == stack)


def stacks(directory: Path, **compose: str) -> Project:
    """Return this checkout with further stacks; an underscore in a name stands for a hyphen."""
    for name, text in compose.items():
        path = directory / name.replace("_", "-")
        path.mkdir()
        (path / "compose.yml").write_text(text)
    return Project(ROOT, (directory,))


def service(*names: str) -> str:
    return f"services: {json.dumps({name: {'image': 'mariadb:11.8'} for name in names})}\n"


def plan_all(project: Project, *names: str) -> dict[str, Any]:
    settings = {f"{name.replace('-', '_')}_topology": "containers" for name in names}
    return plan_host(project, names, settings)


def test_settings_of_both_are_told_apart_on_one_host(tmp_path: Path) -> None:
    project = stacks(tmp_path, shop=service("db"), shop_api=service("db"))
    settings = {"shop_keep_releases": 3, "shop_api_keep_releases": 4}
    topology = {"shop_topology": "containers", "shop_api_topology": "containers"}
    plans = plan_host(project, ["shop", "shop-api"], {**settings, **topology})["stacks"]
    assert {s["name"]: s["keep_releases"] for s in plans} == {"shop": 3, "shop-api": 4}


@pytest.mark.parametrize(
    ("shop", "api"),
    [("api-db", "db"), ("api-db-next", "db"), ("api-db", "db-next")],
)
def test_containers_of_two_stacks_with_one_name_are_refused(
    tmp_path: Path, shop: str, api: str
) -> None:
    project = stacks(tmp_path, shop=service(shop), shop_api=service(api))
    with pytest.raises(ComposeError, match=r"would be called shop-api-db.* of the stack shop is"):
        plan_all(project, "shop", "shop-api")
    # Each alone is well.
    assert plan_all(project, "shop")["stacks"] and plan_all(project, "shop-api")["stacks"]


def test_networks_of_two_stacks_with_one_name_are_refused(tmp_path: Path) -> None:
    wide = "services: {db: {image: 'mariadb:11.8', networks: [b_default]}}\n"
    wide += "networks: {b_default: {}}\n"
    (tmp_path / "a_b").mkdir()
    (tmp_path / "a_b/compose.yml").write_text(service("web"))
    project = stacks(tmp_path, a=wide)
    with pytest.raises(ComposeError, match=r"network would be called a_b_default"):
        plan_all(project, "a", "a_b")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("edge", "is a role"),
        ("storage", "is a role"),
        ("docker", "is a role"),
        ("images", "is a role"),
        ("host", "is a role"),
        ("runtime", "is a role"),
        ("logrotate", "is a role"),
        ("moorage", "moorage_…"),
        ("inventory", "inventory_…"),
        ("ansible", "ansible_…"),
        ("group", "group_names"),
        ("playbook", "playbook_dir"),
        ("lock", "lock_wait"),
        ("edge-http", "edge_http_port"),
        ("docker-address", "docker_address_pools"),
        ("moorage-preflight", "moorage_…"),
        ("all", "every inventory"),
        ("ungrouped", "every inventory"),
        ("containerd", "/opt/containerd"),
    ],
)
def test_reserved_names_are_refused_by_that_reason(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "compose.yml").write_text(service("web"))
    with pytest.raises(ComposeError) as refused:
        Project(ROOT, (tmp_path,)).stacks()
    assert f"the name {name} is reserved" in str(refused.value)
    assert reason in str(refused.value)


def test_two_names_with_the_same_settings_are_refused(tmp_path: Path) -> None:
    project = stacks(tmp_path, shop_api=service("db"))
    shutil.copytree(tmp_path / "shop-api", tmp_path / "shop_api")
    with pytest.raises(ComposeError, match=r"would share their settings \(shop_api_…\)"):
        project.stacks()


@pytest.mark.parametrize("name", ["edges", "docker-hub", "shop-images", "allegro", "grouping"])
def test_names_that_only_look_so_are_taken(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "compose.yml").write_text(service("web"))
    assert name in Project(ROOT, (tmp_path,)).stacks()
