"""What the templates of roles keep to that no task of the role renders, or a task hands on."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, StrictUndefined

from moorage.controller.plan import plan_host
from moorage.controller.project import Project
from moorage.edge import Edge
from moorage.edge.model import Settings
from moorage.release.manifest import DEFAULT_PIDS

ROOT = Path(__file__).resolve().parents[2]
EDGE = ROOT / "roles/edge"
UNIT = "/etc/systemd/system/moorage-edge.service"
TIMER = "/etc/systemd/system/moorage-edge-acme.timer"


def templates(role: str) -> set[str]:
    """Return the templates of a role, by the paths that they mirror."""
    top = ROOT / "roles" / role / "templates"
    return {f"/{path.relative_to(top).with_suffix('')}" for path in top.rglob("*.j2")}


def edge_files() -> list[dict[str, Any]]:
    """Return the files that the role `edge` hands to its module."""
    (task,) = yaml.safe_load((EDGE / "tasks/service.yml").read_text(encoding="utf-8"))
    files: list[dict[str, Any]] = task["moorage_edge"]["files"]
    return files


def installed(topology: str, stack: str = "tg2em") -> Iterator[str]:
    """Yield what a release installs in directories of a host, in the words of templates' names."""
    plan = plan_host(Project(ROOT), [stack], {f"{stack}_topology": topology})
    for path in plan["stacks"][0]["manifest"]["install"].values():
        if not path.startswith(f"/opt/{stack}/"):
            yield path.replace(stack, "STACK").replace(topology, "TOPOLOGY")


def test_every_template_of_the_role_stack_becomes_part_of_a_release() -> None:
    of_host = installed("host", "chatbot")
    # What managers are given goes to a place that is another one for each process.
    whole = {path for path in templates("stack") if not path.startswith("/host/")}
    assert {*installed("unified"), *installed("containers"), *of_host} == whole


def test_the_edge_renders_its_own_templates_to_the_paths_that_they_mirror() -> None:
    files = edge_files()
    assert {entry["path"] for entry in files} == templates("edge")
    for entry in files:
        assert f"'{entry['path'][1:]}.j2'" in entry["content"]


def test_the_role_and_the_command_on_the_host_mean_the_same_paths() -> None:
    said = yaml.safe_load((EDGE / "vars/main.yml").read_text(encoding="utf-8"))
    store, settings = Edge.of().store, Settings()
    assert said["__edge_dir"] == str(store.base)
    assert f"{said['__edge_dir']}/conf" == str(store.conf)
    assert said["__edge_run_dir"] == str(store.run)
    assert f"{said['__edge_run_dir']}/control.sock" == str(store.socket)
    assert (said["__edge_log_dir"], said["__edge_cache_dir"]) == (
        settings.log_dir,
        settings.cache_dir,
    )
    assert said["__edge_tasks_max"] == DEFAULT_PIDS


@pytest.mark.parametrize(
    ("kind", "tls", "there", "absent"),
    [
        ("native", "off", {UNIT, f"{UNIT}.d/limits.conf"}, {TIMER}),
        ("container", "acme", {TIMER}, {UNIT}),
        ("none", "acme", set(), templates("edge")),
    ],
)
def test_a_kind_of_edge_has_its_own_files(
    kind: str, tls: str, there: set[str], absent: set[str]
) -> None:
    jinja = Environment(undefined=StrictUndefined)
    states: dict[str, set[str]] = {"present": set(), "absent": set()}
    for entry in edge_files():
        state = jinja.from_string(entry["state"]).render(edge_plan={"kind": kind}, edge_tls=tls)
        states[state].add(entry["path"])
    assert there <= states["present"]
    assert absent <= states["absent"]


def test_no_unit_is_written_in_python() -> None:
    done = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = [name for name in done.stdout.split() if "tests/" not in name]
    section = re.compile(r"^\[(Unit|Service|Timer|Socket|Install)\]$", re.MULTILINE)
    assert [n for n in names if section.search((ROOT / n).read_text(encoding="utf-8"))] == []
