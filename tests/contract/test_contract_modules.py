"""What every Ansible module keeps to: documentation that parses and says what the code takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

MODULES = sorted((ROOT / "plugins/modules").glob("*.py"))
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)


class Stop(Exception):
    """Carries what a module hands to AnsibleModule, instead of running it."""


def argument_spec(module: ModuleType) -> dict[str, Any]:
    """Return the arguments that a module's main() declares."""

    def capture(**arguments: Any) -> None:
        raise Stop(arguments)

    vars(module)["AnsibleModule"] = capture
    with pytest.raises(Stop) as stopped:
        module.main()
    declared: dict[str, Any] = stopped.value.args[0]
    return declared


def compare(documented: dict[str, Any], declared: dict[str, Any], where: str) -> None:
    """Assert that documentation and code agree on names, types, defaults and choices."""
    assert set(documented) == set(declared), where
    for name, option in declared.items():
        said, here = documented[name], f"{where}{name}"
        assert said["description"], here
        assert said.get("type", "str") == option.get("type", "str"), here
        assert said.get("elements") == option.get("elements"), here
        assert said.get("required", False) == option.get("required", False), here
        assert said.get("choices") == option.get("choices"), here
        default = str(option.get("default"))
        if default.startswith(str(ROOT)):
            default = f"{Path(default).relative_to(ROOT)} of this checkout"
        assert str(said.get("default")) == default, here
        compare(said.get("suboptions", {}), option.get("options", {}), f"{here}.")


@each_module
def test_documentation_parses(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    parts = dict.fromkeys(("DOCUMENTATION", "EXAMPLES", "RETURN"))
    scope: dict[str, Any] = {}
    for name in parts:
        assert f'{name} = r"""' in source or f'{name} = """' in source, name
        quoted = source.split(f"{name} = ", 1)[1]
        body = quoted.split('"""', 2)[1]
        scope[name] = yaml.safe_load(body)
    assert scope["DOCUMENTATION"]["module"] == path.stem
    assert scope["DOCUMENTATION"]["short_description"]
    assert all(task["name"] for task in scope["EXAMPLES"])
    # A module that returns nothing of its own still says so, by an empty text.
    assert all(value["description"] for value in (scope["RETURN"] or {}).values())


@each_module
def test_documentation_says_what_the_code_takes(
    path: Path,
    ansible_module: Callable[[str], ModuleType],
    ansible_action: Callable[[str], ModuleType],
) -> None:
    module = ansible_module(path.stem)
    documented = yaml.safe_load(module.DOCUMENTATION).get("options") or {}
    if not hasattr(module, "main"):
        # The work is done on the controller, by the action plugin of the same name.
        compare(documented, getattr(ansible_action(path.stem), "_OPTIONS", {}), "")
        return
    arguments = argument_spec(module)
    assert arguments["supports_check_mode"] is True
    compare(documented, arguments["argument_spec"], "")


def test_ansible_doc_shows_every_module() -> None:
    names = [path.stem for path in MODULES]
    tool = Path(sys.executable).with_name("ansible-doc")
    done = subprocess.run(
        [str(tool), "--json", "--type", "module", *names],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == set(names), done.stderr
