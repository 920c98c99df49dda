"""The table of settings is the place of a name, a default and a meaning; copies agree with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from devtool import docs
from moorage.controller.project import Project
from moorage.controller.roles import FROM_PLAN, ROLES, settings_of_role
from moorage.deploy.activate import Request
from moorage.settings import edge, host, run, stack
from moorage.settings.readers import Unusable
from moorage.settings.table import Setting, settings_of

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = docs.SETTINGS.read_text(encoding="utf-8")
ROWS = docs.rows(DOCUMENT)
# Tables of docs/settings.md and what they are written from.
TABLES: dict[str, dict[str, Setting]] = {
    "stack": {f"STACK_{name}": entry for name, entry in settings_of(stack.Settings).items()},
    "visitors": dict(settings_of(edge.Options)),
    "probe": dict(settings_of(stack.ProbeOptions)),
    "host": {host.PREFIX + name: entry for name, entry in settings_of(host.Host).items()},
    "run": dict(settings_of(run.Options)),
}
for _role in ROLES:
    _own = {n: s for n, s in settings_of_role(ROOT, _role).items() if n not in FROM_PLAN}
    TABLES |= {f"{_role}_role": _own} if _own else {}
STACKS = sorted(path.parent.name for path in ROOT.glob("files/stacks/*/compose.yml"))
# Of these a default stands in the table alone; the others have a copy where Ansible wants it.
ALONE = (stack.Settings, stack.ProbeOptions, edge.Options)


def read(path: Path) -> Any:
    """Return what a YAML file holds."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_document_is_written_from_the_table() -> None:
    assert docs.settings_document(DOCUMENT) == DOCUMENT, "run: make docs"
    library = docs.LIBRARY.read_text(encoding="utf-8")
    assert docs.library_document(library) == library, "run: make docs"


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    assert {name: list(rows) for name, rows in ROWS.items()} == {
        name: list(table) for name, table in TABLES.items()
    }
    for name, table in TABLES.items():
        for setting, entry in table.items():
            cells = ROWS[name][setting]
            assert entry.meaning and cells[-1], setting
            assert cells[0], setting


def test_documents_name_no_setting_that_there_is_not() -> None:
    known = {name for table in TABLES.values() for name in table}
    prefixes = "|".join(["STACK", *(role for role in ROLES if f"{role}_role" in TABLES)])
    named = re.compile(rf"`((?:{prefixes})_[a-z0-9_]+)(?:: [^`]*)?`")
    files = [*ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/README.md"), *ROOT.glob("README*.md")]
    odd = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in named.findall(path.read_text(encoding="utf-8"))
        if name not in known | FROM_PLAN | {"edge_plan", "host_ip", "host_vars"}
    }
    assert odd == set()


def test_group_vars_have_the_defaults_of_settings_of_all_hosts() -> None:
    given = read(ROOT / "group_vars/all/main.yml")
    table = TABLES["host"]
    assert given.keys() == table.keys()
    for name, value in given.items():
        # Where the checkout is follows from where Ansible was started.
        if name != "moorage_files_dir":
            assert table[name].read(value) == table[name].default, name


@pytest.mark.parametrize("name", STACKS)
def test_group_vars_of_a_stack_set_what_there_is(name: str) -> None:
    given = {
        n.removeprefix(f"{name}_"): v for n, v in read(ROOT / f"group_vars/{name}.yml").items()
    }
    stack.Settings.parse(given, name)


def test_the_role_s_defaults_are_those_of_the_host_s_edge() -> None:
    for name, entry in settings_of_role(ROOT, "edge").items():
        own = settings_of(edge.Settings).get(name.removeprefix("edge_"))
        # The plan tells the host which image stands for the name.
        if own and name != "edge_image":
            assert own.read(entry.default) == own.default, name


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_choices_of_a_role_can_be_read(role: str) -> None:
    spec = read(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]["main"]
    for name, entry in settings_of_role(ROOT, role).items():
        if "{{" not in str(entry.default):
            assert entry.read(entry.default) is not None, name
        choices = spec["options"][name].get("choices", [])
        assert [entry.read(choice) for choice in choices] == choices
        if choices:
            with pytest.raises(Unusable, match=f"one of {', '.join(choices)}"):
                entry.read("something else")


def test_playbooks_have_the_defaults_of_options() -> None:
    for path in [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("playbooks/tasks/*.yml")]:
        for name, entry in TABLES["run"].items():
            for value in re.findall(rf"\b{name} \| default\(([^()]*)\)", path.read_text()):
                # `all` and an empty text stand for what is not given.
                if value not in ("''", "'all'", "stack_plan.batch"):
                    assert entry.read(value) == entry.default, f"{path.name}: {name}"


def constants(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield every name that a module gives a value: variables, keys, arguments, fields."""
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value
            case ast.Assign(targets=targets, value=value):
                yield from ((t.id, value) for t in targets if isinstance(t, ast.Name))
            case ast.keyword(arg=str(name), value=value):
                yield name, value
            case ast.Dict(keys=keys, values=values):
                pairs = zip(keys, values, strict=True)
                yield from ((str(k.value), v) for k, v in pairs if isinstance(k, ast.Constant))
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=name), value]):
                yield str(name), value
            case ast.arguments(args=args, defaults=given, kwonlyargs=only, kw_defaults=their):
                last = args[len(args) - len(given) :]
                yield from ((a.arg, v) for a, v in zip(last, given, strict=False))
                yield from ((a.arg, v) for a, v in zip(only, their, strict=True) if v)


def test_a_default_of_a_stack_stands_once() -> None:
    defaults = {
        name: entry.default
        for cls in ALONE
        for name, entry in settings_of(cls).items()
        # Nothing and one are everybody's.
        if isinstance(entry.default, (int, float)) and entry.default not in (0, 1)
    }
    files = [*Project(ROOT).sources.glob("moorage/**/*.py"), *ROOT.glob("plugins/**/*.py")]
    again = [
        f"{path.relative_to(ROOT)}:{value.lineno}: {name}"
        for path in files
        if path.parent.name != "settings"
        for name, value in constants(ast.parse(path.read_text(encoding="utf-8")))
        if name in defaults and isinstance(value, ast.Constant) and value.value == defaults[name]
    ]
    assert again == []


def test_the_module_of_a_rollout_and_its_request_have_the_same_options() -> None:
    source = (ROOT / "plugins/modules/moorage_activate.py").read_text(encoding="utf-8")
    (documented,) = re.findall(r'DOCUMENTATION = r"""(.*?)"""', source, re.DOTALL)
    action = (ROOT / "plugins/action/moorage_activate.py").read_text(encoding="utf-8")
    (own,) = re.findall(r"^OWN = (\(.*\))$", action, re.M)
    options = {
        name: option
        for name, option in yaml.safe_load(documented)["options"].items()
        if name not in ast.literal_eval(own)
    }
    # Who asks is known on the host.
    assert options.keys() == {entry.name for entry in fields(Request)} - {"who"}
    # A default stands with the field alone.
    assert [name for name, option in options.items() if "default" in option] == []


def test_a_rollback_has_the_defaults_of_settings() -> None:
    text = (ROOT / "playbooks/rollback.yml").read_text(encoding="utf-8")
    found = dict(re.findall(r"~ '_(\w+)', default=(\d+)", text))
    assert found
    for name, value in found.items():
        assert getattr(stack.Settings, name) == int(value), name
