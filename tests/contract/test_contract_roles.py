"""What every role keeps to: its arguments, its README, its tasks, and what it says it manages."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path) -> ModuleType:
    """Import a Python file that belongs to no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader, path
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


README = load(ROOT / "tests/role_readme.py")
ROLES: list[Path] = README.roles()
MODULES = {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}
MODULES |= {path.stem for path in (ROOT / "plugins/action").glob("*.py")}

# Keywords of a task, so that what is left is its module.
KEYWORDS = {
    "name", "when", "register", "notify", "loop", "loop_control", "tags", "vars", "become",
    "become_user", "changed_when", "failed_when", "until", "retries", "delay", "no_log", "listen",
    "check_mode", "environment", "run_once", "delegate_to", "async", "poll", "args", "diff",
    "throttle", "timeout", "any_errors_fatal", "module_defaults", "ignore_unreachable",
}  # fmt: skip

each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def read(path: Path) -> Any:
    """Return what a YAML file holds."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def task_files() -> list[Path]:
    """Return all files with tasks or handlers, those of plays included."""
    found = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/handlers/*.yml")]
    found += [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("playbooks/tasks/*.yml")]
    return sorted([*found, *ROOT.glob("molecule/**/*.yml"), ROOT / "site.yml"])


def tasks(document: Any) -> Iterator[dict[str, Any]]:
    """Yield all tasks in a document, those in blocks and plays too."""
    for entry in document if isinstance(document, list) else []:
        parts = ("block", "rescue", "always", "pre_tasks", "tasks", "post_tasks", "handlers")
        nested = [part for part in parts if part in entry]
        if not nested and "hosts" not in entry:
            yield entry
        for part in nested:
            yield from tasks(entry[part])


def modules(task: dict[str, Any]) -> set[str]:
    """Return the module that a task runs, under the name that it uses."""
    return {key for key in task if key not in KEYWORDS and not key.startswith("with_")}


def test_there_are_roles() -> None:
    assert {"host", "docker", "storage", "logrotate"} <= {role.name for role in ROLES}


@each_role
def test_arguments_and_defaults_name_the_same_variables(role: Path) -> None:
    options = README.options(role)
    defaults = set(README.read_yaml(role / "defaults/main.yml"))
    required = {name for name, option in options.items() if option.get("required")}
    assert defaults == set(options) - required
    assert all(name.startswith(f"{role.name}_") for name in options)


@each_role
def test_every_argument_has_a_type_and_a_description(role: Path) -> None:
    specs = read(role / "meta/argument_specs.yml")["argument_specs"]
    assert "main" in specs
    assert all(spec.get("short_description") for spec in specs.values())
    for name, option in README.options(role).items():
        assert option.get("type"), name
        assert option.get("description"), name
        assert option["type"] != "list" or option.get("elements"), name
        # It would never set the variable.
        assert "default" not in option, name


@each_role
def test_the_readme_has_its_parts_and_a_table_in_step(role: Path) -> None:
    text = (role / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {role.name}\n")
    for heading in ("## Example", "## Variables", "## Troubleshooting"):
        assert heading in text, heading
    assert "```yaml" in text
    assert text == README.renewed(role), "run: python tests/role_readme.py"


@each_role
def test_main_is_a_table_of_contents_and_defaults_stay_short(role: Path) -> None:
    assert len((role / "tasks/main.yml").read_text().splitlines()) <= 40
    defaults = role / "defaults/main.yml"
    if defaults.exists():
        assert len(defaults.read_text().splitlines()) <= 120


@each_role
def test_templates_say_who_writes_them(role: Path) -> None:
    for template in role.glob("templates/**/*.j2"):
        if template.name.endswith(".json.j2"):
            continue
        first = template.read_text().splitlines()[0]
        assert "ansible_managed" in first or first.startswith("# Written by Moorage"), template


@pytest.mark.parametrize("path", task_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_tasks_are_named_and_call_modules_by_their_full_names(path: Path) -> None:
    for task in tasks(read(path)):
        assert task.get("name"), task
        assert task["name"][0].isupper(), task["name"]
        for module in modules(task):
            if module == "ansible.builtin.import_playbook":
                continue
            assert module.count(".") >= 2 or module in MODULES, f"{task['name']}: {module}"


@pytest.mark.parametrize("path", task_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_failure_is_hidden(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"^\s*ignore_errors:", text, re.MULTILINE)
    assert not re.search(r"^\s*failed_when:\s*(false|no|never)\b", text, re.MULTILINE)
    for task in tasks(read(path)):
        for module in modules(task) & {"ansible.builtin.command", "ansible.builtin.shell"}:
            # What a command creates or removes says whether it changed something, too.
            says = "changed_when" in task or {"creates", "removes"} & set(task[module])
            assert says, task["name"]


MANAGING = [role for role in ROLES if (role / "vars/main.yml").exists()]
each_managing = pytest.mark.parametrize("role", MANAGING, ids=lambda role: role.name)


def strings(value: Any) -> Iterator[str]:
    """Yield all strings in nested data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from strings(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from strings(entry)


def managed(role: Path, suffix: str) -> str:
    """Return what a role says that it manages, as text; "" when it does not say."""
    variables = read(role / "vars/main.yml")
    return "\n".join(strings(variables.get(f"{role.name}_managed_{suffix}", "")))


def written(role: Path, kind: str) -> list[str]:
    """Return the fixed parts of the paths that a role's tasks write."""
    found = []
    for path in role.glob("tasks/*.yml"):
        for task in tasks(read(path)):
            for module in ("moorage_files", "moorage_edge"):
                entries = task.get(module, {}).get(kind, [])
                if isinstance(entries, list):
                    found += [entry["path"].split("{{")[0] for entry in entries]
            for name in ("template", "copy", "file") if kind == "files" else ():
                arguments = task.get(f"ansible.builtin.{name}", {})
                found += [arguments[key] for key in ("dest", "path") if key in arguments]
    return found


@each_managing
@pytest.mark.parametrize("kind", ["files", "links"])
def test_a_role_says_which_paths_it_writes(role: Path, kind: str) -> None:
    said, done = managed(role, kind), written(role, kind)
    assert [path for path in done if path not in said] == []
    fixed = re.findall(r"/(?:etc|usr)/[\w./@-]+", said)
    if done:
        assert sorted(set(fixed) - set(done)) == [], "said to be managed, but no task writes it"


@each_managing
def test_a_role_says_which_packages_it_installs(role: Path) -> None:
    for path in role.glob("tasks/*.yml"):
        for task in tasks(read(path)):
            for module in {"moorage_packages", "ansible.builtin.apt"} & set(task):
                # The survey asks for them, whichever module brings them.
                assert task[module]["name"] == f"{{{{ {role.name}_managed_packages }}}}"


@each_managing
def test_a_role_says_which_services_it_runs(role: Path) -> None:
    variables = (role / "vars/main.yml").read_text(encoding="utf-8")
    for path in role.glob("tasks/*.yml"):
        for task in tasks(read(path)):
            units = task.get("moorage_services", {}).get("units", [])
            if isinstance(units, str):
                # Computed: then the list of managed services is taken from the same variable.
                source = units.strip("{} ")
                assert source in managed(role, "services")
            else:
                missing = [unit["name"] for unit in units if unit["name"] not in variables]
                assert missing == []


def test_there_is_no_topology_outside_its_role() -> None:
    for path in task_files():
        for task in tasks(read(path)):
            condition = str(task.get("when", ""))
            assert not re.search(r"topology\s*(==|!=|in)", condition), f"{path}: {task['name']}"
