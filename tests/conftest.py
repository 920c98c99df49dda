"""What all tests of this directory share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import ansible.module_utils
import pytest

ROOT = Path(__file__).resolve().parents[1]

# Ansible finds our module_utils by a setting; an import needs the package's path.
ansible.module_utils.__path__.append(str(ROOT / "plugins/module_utils"))


def load(path: Path) -> ModuleType:
    """Import a Python file that belongs to no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader, path
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's directory."""
    return ROOT


@pytest.fixture(scope="session")
def ansible_module() -> Callable[[str], ModuleType]:
    """Import one of our Ansible modules by its name."""
    return lambda name: load(ROOT / f"plugins/modules/{name}.py")


@pytest.fixture(scope="session")
def ansible_action() -> Callable[[str], ModuleType]:
    """Import one of our action plugins by its name."""
    return lambda name: load(ROOT / f"plugins/action/{name}.py")


@pytest.fixture(scope="session")
def data() -> Callable[[str], str]:
    """Read a file of tests/survey/data, each taken from a running Debian 13 host."""
    return lambda name: (ROOT / "tests/survey/data" / name).read_text(encoding="utf-8")
