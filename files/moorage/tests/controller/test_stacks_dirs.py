"""Stacks that lie outside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.compose.errors import ComposeError
from moorage.controller.project import Project

ROOT = Path(__file__).resolve().parents[4]


def stack(directory: Path, name: str) -> Path:
    """Make a stack's directory."""
    (directory / name).mkdir(parents=True)
    (directory / name / "compose.yml").write_text(f"name: {name}\nservices: {{}}\n")
    return directory / name


def test_stacks_of_other_directories_are_found_beside_our_own(tmp_path: Path) -> None:
    shop = stack(tmp_path, "shop")
    (tmp_path / "notes").mkdir()
    project = Project(ROOT, (tmp_path,))
    assert {"shop", "tg2em"} <= set(project.stacks())
    assert "notes" not in project.stacks()
    assert project.stack_directory("shop") == shop
    assert project.stack_directory("tg2em") == ROOT / "files/stacks/tg2em"


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    stack(tmp_path, "tg2em")
    with pytest.raises(ComposeError, match=r"tg2em is in .* and in"):
        Project(ROOT, (tmp_path,)).stacks()


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ComposeError, match="no-such"):
        Project(ROOT, (tmp_path / "no-such",)).stacks()
