"""From the text of a compose.yml to what a topology makes of it, unified unless told."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from moorage.compose import ComposeError, Problem, load_stack
from moorage.render import Rendering, Settings, render_stack
from moorage.settings.table import settings_of

# DOCKER_CONFIG: where the bootstrap has put Compose for a client that came without it.
_NEEDED = ("PATH", "HOME", "DOCKER_CONFIG")
# What an operator does not set.
_OWN = {entry.name for entry in fields(Settings)} - settings_of(Settings).keys()


class Rendered:
    """A rendering with its two main files parsed."""

    def __init__(self, rendering: Rendering) -> None:
        self.rendering = rendering
        self.text = rendering.files["compose.yaml"].content
        self.compose: dict[str, Any] = yaml.safe_load(self.text)
        self.services: dict[str, Any] = self.compose["services"]
        file = rendering.files.get("supervisor.json")
        self.supervisor: dict[str, Any] = json.loads(file.content) if file else {}
        self.processes = {entry["name"]: entry for entry in self.supervisor.get("processes", [])}


@pytest.fixture
def render(tmp_path: Path) -> Callable[..., Rendered]:
    def run(text: str, *, profiles: tuple[str, ...] = (), **settings: Any) -> Rendered:
        directory = tmp_path / "shop"
        directory.mkdir(exist_ok=True)
        (directory / "compose.yml").write_text(text, encoding="utf-8")
        stack = load_stack(directory, profiles=profiles, on_demand=True)
        own = {name: settings.pop(name) for name in _OWN & settings.keys()}
        parsed = Settings.parse(settings, stack.name, **own)
        return Rendered(render_stack(stack, parsed))

    return run


@pytest.fixture
def refused(render: Callable[..., Rendered]) -> Callable[..., dict[str, Problem]]:
    def run(text: str, **settings: Any) -> dict[str, Problem]:
        with pytest.raises(ComposeError) as raised:
            render(text, **settings)
        assert all(problem.advice for problem in raised.value.problems)
        return {problem.where: problem for problem in raised.value.problems}

    return run


@pytest.fixture
def compose_config(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """What Docker Compose itself reads from a compose.yaml, services of all profiles."""

    def run(text: str) -> dict[str, Any]:
        release = tmp_path / "release"
        release.mkdir(exist_ok=True)
        (release / "compose.yaml").write_text(text, encoding="utf-8")
        argv = ["docker", "compose", "--profile=*", "-p", "shop", "-f", "compose.yaml"]
        done = subprocess.run(
            [*argv, "config", "--format", "json"],
            cwd=release,
            env={name: os.environ[name] for name in _NEEDED if name in os.environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    return run
