"""The oracle: `docker compose config` on the same file, and both sides in one comparable form."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# What both sides see of the caller's environment; PATH and HOME are the oracle's own needs.
VARIABLES = {
    "PRESENT": "here",
    "EMPTY": "",
    "NUMBER": "8080",
    "YES": "true",
    "DOLLAR": "a$b",
}
_NEEDED = {
    name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_CONFIG") if name in os.environ
}


class Oracle:
    """Asks Docker Compose."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.variables = variables

    def run(self, directory: Path, file: str | None, profiles: tuple[str, ...]) -> Any:
        """The canonical description as JSON, or the oracle's complaint as a text."""
        argv = ["docker", "compose", *(f"--profile={name}" for name in profiles)]
        argv += ["-f", file] if file else []
        environment = {**_NEEDED, "HOME": os.environ.get("HOME", "/root"), **self.variables}
        done = subprocess.run(
            [*argv, "config", "--format", "json"],
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode == 0:
            return json.loads(done.stdout)
        if "is not a docker command" in done.stderr:
            raise RuntimeError(
                f"docker compose is missing, the oracle of these tests: {done.stderr}"
            )
        return done.stderr.strip()


def _without_empty(value: Any, path: tuple[str, ...] = ()) -> Any:
    if isinstance(value, dict):
        kept = {key: _without_empty(item, (*path, key)) for key, item in value.items()}
        names = len(path) == 3 and path[0] == "services" and path[2] in ("environment", "networks")
        if names:
            return kept
        return {key: item for key, item in kept.items() if _says_something(key, item)}
    if isinstance(value, list):
        return [_without_empty(item, (*path, "")) for item in value]
    return value


def _says_something(key: str, item: Any) -> bool:
    if item is False:
        return key in ("init", "required")  # of all others it is the default
    return item not in (None, {}, []) or (item == [] and key in ("command", "entrypoint"))


def _unescaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$$", "$")
    if isinstance(value, list):
        return [_unescaped(item) for item in value]
    if isinstance(value, dict):
        return {_unescaped(key): _unescaped(item) for key, item in value.items()}
    return value


def _honoured(value: Any) -> Any:
    """Without extension fields and the two keys that only matter at a developer's desk."""
    if isinstance(value, list):
        return [_honoured(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _honoured(item) for key, item in value.items() if not key.startswith("x-")}


def comparable(data: dict[str, Any], *, oracle: bool) -> dict[str, Any]:
    """One side of the comparison."""
    plain = _honoured(_unescaped(data) if oracle else data)
    plain.pop("directory", None)
    for service in plain.get("services", {}).values():
        for key in ("develop", "attach"):
            service.pop(key, None)
    result: dict[str, Any] = _without_empty(plain)
    return result


@pytest.fixture(scope="session")
def variables() -> dict[str, str]:
    return dict(VARIABLES)


@pytest.fixture(scope="session")
def oracle(variables: dict[str, str]) -> Oracle:
    return Oracle(variables)


@pytest.fixture(scope="session")
def same_form() -> Callable[..., dict[str, Any]]:
    return comparable
