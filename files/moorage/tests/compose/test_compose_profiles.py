"""Services that no enabled profile asks for, kept where they are asked to be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.compose import ComposeError, Stack, load_stack, started_only

TEXT = """\
services:
  db: {image: x, volumes: ["data:/d"]}
  tool: {image: x, profiles: [p, q], volumes: ["own:/d"], secrets: [s], depends_on: [other]}
  other: {image: x, profiles: [r], configs: [c]}
volumes: {data: , own: }
secrets: {s: {x-moorage: {generate: {}}}}
configs: {c: {content: text}}
"""


def _write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "compose.yml").write_text(text, encoding="utf-8")
    return tmp_path


def test_kept_and_named(tmp_path: Path) -> None:
    directory = _write(tmp_path, TEXT)
    stack = load_stack(directory, on_demand=True)
    assert list(stack.services) == ["db", "tool", "other"]
    assert stack.on_demand == ("tool", "other")
    assert load_stack(directory, profiles=["r"], on_demand=True).on_demand == ("tool",)
    assert load_stack(directory, profiles=["*"], on_demand=True).on_demand == ()
    assert load_stack(directory).on_demand == ()


def test_plain_data_keeps_them(tmp_path: Path) -> None:
    stack = load_stack(_write(tmp_path, TEXT), on_demand=True)
    assert Stack.from_dict(stack.to_dict()) == stack


@pytest.mark.parametrize("profiles", [(), ("r",), ("p", "r"), ("*",)])
def test_without_them_it_is_the_stack_as_usual(tmp_path: Path, profiles: tuple[str, ...]) -> None:
    directory = _write(tmp_path, TEXT)
    stack = load_stack(directory, profiles=profiles, on_demand=True)
    assert started_only(stack) == load_stack(directory, profiles=profiles)


def test_what_is_started_must_not_need_them(tmp_path: Path) -> None:
    text = TEXT.replace('volumes: ["data:/d"]', "depends_on: [tool]")
    with pytest.raises(ComposeError) as raised:
        load_stack(_write(tmp_path, text), on_demand=True)
    assert [problem.where for problem in raised.value.problems] == ["services.db.depends_on.tool"]
    text = text.replace("[tool]", "{tool: {condition: service_started, required: false}}")
    assert load_stack(_write(tmp_path, text), on_demand=True).on_demand == ("tool", "other")


def test_they_are_checked_too(tmp_path: Path) -> None:
    with pytest.raises(ComposeError) as raised:
        load_stack(_write(tmp_path, TEXT.replace('["own:/d"]', '["owm:/d"]')), on_demand=True)
    assert [problem.where for problem in raised.value.problems] == ["services.tool.volumes[0]"]
